"""The line that says which stage of how many begins."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.utils import announce

ROOT = Path(__file__).resolve().parents[3]
DVC = """
stages:
  once: {cmd: x}
  many: {foreach: [a, b], do: {cmd: x}}
  items: {foreach: "${items}", do: {cmd: x}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text(DVC)
    (tmp_path / "params.yaml").write_text("scale: small\nitems: {vqa: {}, nlvr2: {}, coco: {}}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "once")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def test_stages_of_one_dvc_process_are_counted(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for process in (7, 7, 8):
        monkeypatch.setattr(announce, "caller", lambda process=process: process)
        announce.stage()
    assert capsys.readouterr().err == "stage 1 of 6\nstage 2 of 6\nstage 1 of 6\n"


def test_without_dvc_nothing_is_said(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_STAGE")
    announce.stage()
    assert capsys.readouterr().err == ""


def test_dvc_is_found_above_a_shell(tmp_path: Path) -> None:
    """A program called dvc starts a stage in a shell, as DVC does."""
    stage = f"{sys.executable} -c 'from pipeline import announce; print(announce.caller())'"
    program = tmp_path / "dvc"
    program.write_text(
        f"#!{sys.executable}\nimport os, subprocess\nprint(os.getpid(), flush=True)\n"
        f"subprocess.run({stage + '; true'!r}, shell=True, cwd={str(ROOT)!r})\n"
    )
    program.chmod(0o755)
    own, found = subprocess.run(
        [program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert found == own
