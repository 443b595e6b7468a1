"""docs/dvc.md: a run is recorded in dvc.lock, pushed, and pulled into a fresh clone, where DVC has
nothing to do; an edit is seen by all of DVC's commands."""

import shutil
from pathlib import Path

import pytest

from tests.helpers import project_copy, tiny
from tests.helpers.project_copy import git, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("dvc") is None, reason="needs the command dvc"),
]
TARGET = "shard@nlvr2"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed run of two stages with tiny parameters, pushed to a folder."""
    folder = project_copy.make(tmp_path_factory.mktemp("clone") / "first", tiny.settings())
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
