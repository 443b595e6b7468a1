"""TMPDIR and HOME that libraries can work with."""

import os
import tempfile
from pathlib import Path

import pytest

from pipeline.utils import surroundings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def use(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    temporary.mkdir(exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_a_long_temporary_folder_is_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, folder / ("x" * 100))
    surroundings.prepare()
    assert len(tempfile.gettempdir()) <= surroundings.LONGEST
    assert os.environ["TMPDIR"] == tempfile.gettempdir()


def test_a_short_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Path("/var/tmp"))
    surroundings.prepare()
    assert os.environ["TMPDIR"] == tempfile.gettempdir() == "/var/tmp"


@pytest.mark.parametrize("home", ["/proc/nobody", "/nowhere/at/all", "/proc"])
def test_a_home_that_cannot_be_written_is_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(home))
    surroundings.prepare()
    assert Path.home() == folder / ".work" / "home" and Path.home().is_dir()


def test_a_home_that_can_be_written_stays(folder: Path) -> None:
    surroundings.prepare()
    assert Path.home() == folder and not Path(".work").exists()


def test_a_home_with_rays_token_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / surroundings.TOKEN).parent.mkdir()
    (folder / surroundings.TOKEN).touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    surroundings.prepare()
    assert Path.home() == folder
