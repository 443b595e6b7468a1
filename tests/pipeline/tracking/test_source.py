"""What a run says of the code and the parameters that it was made by."""

import subprocess
from pathlib import Path

import pytest

from pipeline.tracking import source

COMMIT = ("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "all")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed project as working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    for name in ("params.yaml", "fine_tunes.yaml", "dvc.lock"):
        Path(name).write_text("lr: 1\n")
    for arguments in (("init", "-q"), ("add", "."), COMMIT):
        subprocess.run(["git", *arguments], check=True)
    return tmp_path


def test_a_run_names_its_commit_and_what_was_edited_since(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("dvc.lock").write_text("written by DVC\n")
    clean = source.tags("finetune")
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert clean["mlflow.source.git.commit"] == head.stdout.strip()
    assert clean["mlflow.source.git.dirty"] == "false" and source.edits() == ""
    assert clean["mlflow.source.name"] == "stages/finetune.py" and clean["mlflow.user"]
    assert "dvc.experiment" not in clean

    Path("params.yaml").write_text("lr: 2\n")
    monkeypatch.setenv("DVC_EXP_NAME", "muggy-pots")
    edited = source.tags("finetune")
    assert edited["mlflow.source.git.dirty"] == "true"
    assert edited["dvc.experiment"] == "muggy-pots"
    assert source.edits().endswith("-lr: 1\n+lr: 2\n")


def test_what_was_edited_has_no_secrets(repository: Path) -> None:
    Path("params.yaml").write_text("url: 'http://me:p@ss@mirror.org/coco?key=1'\nlr: 1\n")
    assert "+url: 'http://mirror.org/coco'\n" in source.edits()


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert source.commit() == {} and source.edits() == ""


def test_every_stage_is_the_file_that_its_runs_name() -> None:
    root = Path(source.__file__).parents[2]
    code = "\n".join(
        path.read_text()
        for folder in ("stages", "pipeline")
        for path in (root / folder).rglob("*.py")
    )
    named = {word.split('"')[0] for word in code.split('stage="')[1:]}
    assert {"finetune", "imports"} <= named
    assert [name for name in named if not (root / f"stages/{name}.py").exists()] == []
