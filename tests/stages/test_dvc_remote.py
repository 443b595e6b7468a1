"""docs/dvc.md: a run is recorded in dvc.lock, pushed, and pulled into a fresh clone, where DVC has
nothing to do; an edit is seen by all of DVC's commands."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers import tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("dvc") is None, reason="needs the command dvc"),
]
TARGET = "shard@nlvr2"
FILES = ("model", "pipeline", "stages", "dvc.yaml", "fine_tunes.yaml", ".dvc", ".dvcignore")


def run(folder: Path, *words: str) -> str:
    """The output of a command in a folder, which must succeed."""
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def git(folder: Path, *words: str) -> None:
    run(folder, "git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed run of two stages with tiny parameters, pushed to a folder."""
    folder = tmp_path_factory.mktemp("clone") / "first"
    folder.mkdir()
    for name in FILES:
        source = tiny.ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "cache", "tmp")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    tiny.write(folder, tiny.settings())
    shutil.copy(tiny.ROOT / ".gitignore", folder / ".gitignore")
    git(folder, "init", "-q")
    run(folder, "dvc", "repro", TARGET)
    run(folder, "dvc", "remote", "add", "-d", "store", str(folder.parent / "store"))
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "a run")
    run(folder, "dvc", "push", TARGET, "--with-deps")
    return folder


def test_a_fresh_clone_pulls_what_was_pushed_and_has_nothing_to_do(project: Path) -> None:
    clone = project.parent / "second"
    run(project.parent, "git", "clone", "-q", str(project), str(clone))
    run(clone, "dvc", "pull", TARGET, "--with-deps")
    assert "up to date" in run(clone, "dvc", "status", TARGET, "--with-deps")
    before = (clone / "dvc.lock").read_bytes()
    printed = run(clone, "dvc", "repro", TARGET)
    assert "Running stage" not in printed and "didn't change" in printed
    assert (clone / "dvc.lock").read_bytes() == before


def test_an_edit_by_hand_is_seen_and_named(project: Path) -> None:
    path = project / "params.yaml"
    before = path.read_bytes()
    tree = tiny.settings()
    tree["shard"]["nlvr2"]["max_side"] = 32
    tiny.write(project, tree)
    try:
        status = run(project, "dvc", "status", TARGET)
        assert TARGET in status and "shard.nlvr2" in status
        assert "shard.nlvr2.max_side" in run(project, "dvc", "params", "diff")
        for words in (["--dry", TARGET], ["-s", "--dry", TARGET]):
            assert f"Running stage '{TARGET}'" in run(project, "dvc", "repro", *words)
    finally:
        path.write_bytes(before)


def test_an_edit_of_a_reader_is_seen_by_its_stages_alone(project: Path) -> None:
    path = project / "pipeline/data/datasets/nlvr2.py"
    before = path.read_bytes()
    path.write_bytes(before + b"# edited\n")
    try:
        status = run(project, "dvc", "status", TARGET, "download@nlvr2")
        assert TARGET in status and "datasets/nlvr2.py" in status
    finally:
        path.write_bytes(before)
