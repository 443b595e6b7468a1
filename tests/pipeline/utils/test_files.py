"""What is removed, and what never is."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.utils import files


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder beside one that holds something precious."""
    monkeypatch.delenv("DVC_ROOT", raising=False)
    project = tmp_path / "project"
    for folder in (project / "model", project / "data" / "small", tmp_path / "precious"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("precious")
    monkeypatch.chdir(project)
    return project


@pytest.mark.parametrize(
    "path",
    [
        "model",
        ".",
        "..",
        "/",
        "data",
        "../precious",
        "data/../../precious",
        "data/small/../../model",
        "",
        str(Path.home()),
        str(Path(Path.home().anchor)),
    ],
)
def test_nothing_but_output_folders_is_removed(project: Path, path: str) -> None:
    with pytest.raises(UserError, match="nothing is removed there") as caught:
        files.fresh_directory(Path(path))
    assert "\n" not in str(caught.value)
    for kept in (project / "model", project / "data" / "small", project.parent / "precious"):
        assert (kept / "file").read_text() == "precious"


def test_outputs_are_emptied(project: Path) -> None:
    for path in (Path("data/small"), project / "runs/small/x", project / ".work/y"):
        folder = files.fresh_directory(path)
        (folder / "file").write_text("new")
        assert not list(files.fresh_directory(path).iterdir())


def test_of_a_link_the_link_goes(project: Path) -> None:
    precious = project.parent / "precious"
    Path("runs").symlink_to(project.parent / "disk")  # a disk for all runs is fine
    (project.parent / "disk").mkdir()
    Path("runs/main").symlink_to(precious)
    files.link_tree(Path("model"), Path("runs/main"))
    assert (precious / "file").read_text() == "precious"
    assert not Path("runs/main").is_symlink() and (project.parent / "disk/main/file").exists()


def test_dvcs_copy_of_the_project_and_the_work_folders_of_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = project / ".dvc/tmp/exps/1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(project))
    files.fresh_directory(Path("data/small"))
    files.fresh_directory(project / ".work/x")
    with pytest.raises(UserError):
        files.fresh_directory(project)
    assert (project / "data/small/file").exists()
