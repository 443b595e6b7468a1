"""A copy of the project with its own parameters, in which DVC runs stages as a user's does."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.helpers import tiny

FILES = ("model", "pipeline", "stages", "dvc.yaml", "fine_tunes.yaml", ".dvc", ".dvcignore")


def make(folder: Path, tree: dict[str, Any]) -> Path:
    """A git repository without commits; `tree`: its params.yaml."""
    folder.mkdir()
    for name in FILES:
        source = tiny.ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "cache", "tmp")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    tiny.write(folder, tree)
    shutil.copy(tiny.ROOT / ".gitignore", folder / ".gitignore")
    git(folder, "init", "-q")
    return folder


def run(folder: Path, *words: str, timeout: float = 300) -> str:
    """The output of a command in a folder, which must succeed."""
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def git(folder: Path, *words: str) -> None:
    """A git command by somebody."""
    run(folder, "git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words)
