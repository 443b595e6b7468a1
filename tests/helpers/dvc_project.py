"""A tiny project of two DVC stages, for what DVC's own files can suffer."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers import tiny

STAGES = """\
stages:
  first:
    cmd: echo first >> ran && mkdir -p out && echo 1 > out/x && echo 2 > out/y
    deps: [source]
    outs: [out]
  second:
    cmd: echo second >> ran && cat out/x source > text
    deps: [out, source]
    outs: [text]
"""


def make(folder: Path) -> Path:
    """The project with both stages run."""
    folder.mkdir()
    (folder / "dvc.yaml").write_text(STAGES)
    (folder / "source").write_text("source\n")
    dvc(folder, "init", "--no-scm", "-q")
    dvc(folder, "config", "cache.type", "hardlink,symlink")
    dvc(folder, "config", "core.site_cache_dir", str(folder.parent / "site_cache"))
    dvc(folder, "repro")
    return folder


@contextmanager
def restored(folder: Path) -> Iterator[None]:
    """In it the project may change; afterwards it is as before, in the same place, for which DVC
    knows checksums."""
    kept = folder.with_name("kept")
    subprocess.run(["cp", "-a", folder, kept], check=True)  # links stay links
    yield
    shutil.rmtree(folder)
    kept.rename(folder)


def dvc(folder: Path, *words: str) -> str:
    """The output of a `dvc` that must succeed."""
    return succeed(folder, "-m", "dvc", *words)


def succeed(folder: Path, *words: str) -> str:
    """The output of a Python that must succeed."""
    status, printed = python(folder, *words)
    assert status == 0, printed
    return printed


def python(folder: Path, *words: str) -> tuple[int, str]:
    """Exit status and output of a Python in the project."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(tiny.ROOT), "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr
