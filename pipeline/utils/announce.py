"""Which stage of how many this is, for the person who watches `dvc repro`."""

import os
import sys
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from pipeline.config import params
from pipeline.utils import files, workdir

FILE = Path("dvc.yaml")


def stage() -> None:
    """Under DVC, one line: how many stages this `dvc repro` has begun, and how many there are.
    Stages that have nothing to do are not begun."""
    if "DVC_STAGE" not in os.environ or not FILE.exists():
        return
    sys.stderr.write(f"stage {_begun()} of {total(YAML(typ='safe').load(FILE)['stages'])}\n")


def total(stages: dict[str, Any]) -> int:
    """The number of stages of dvc.yaml, templates counted as often as they are filled in."""
    lists = (stage.get("foreach", [None]) for stage in stages.values())
    return sum(
        len(params.subtree(items.strip("${}")) if isinstance(items, str) else items)
        for items in lists
    )


def _begun() -> int:
    """Counts the calls below one DVC process."""
    path, dvc = workdir.root() / "announced.json", caller()
    before = files.read_json(path) if path.exists() else {}
    begun = before["begun"] + 1 if before.get("dvc") == dvc else 1
    files.write_json(path, {"dvc": dvc, "begun": begun})
    return begun


def caller() -> int | None:
    """The process number of the DVC that started this stage, through a shell or not."""
    return next(
        (process.pid for process in psutil.Process().parents() if "dvc" in _words(process)), None
    )


def _words(process: psutil.Process) -> list[str]:
    """The command line's program and first arguments, without folders."""
    return [Path(word).name for word in process.cmdline()[:3]]
