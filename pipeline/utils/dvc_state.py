"""What a killed `dvc` leaves behind, and the next one stops at: files that it was writing.

Nothing that was computed is lost with them: with a new dvc.lock `dvc repro` takes all outputs from
the run cache.
"""

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml.error import YAMLError

from pipeline.config import yaml_reader
from pipeline.errors import UserError

LOCK = Path("dvc.lock")
_SET_ASIDE = Path(".dvc/tmp/dvc.lock.damaged")
_RWLOCK = Path(".dvc/tmp/rwlock")
_CONFLICT = re.compile(rb"^<{7} ", re.MULTILINE)
_WHOLE_ENTRY = re.compile(r"[0-9a-f]{64}")  # what a file of the run cache is called


def mend() -> Iterator[str]:
    """Set aside or remove what a killed `dvc` has left in the project in the working directory, and
    tell of each. Beside a `dvc` that is at work nothing is touched.

    Raises:
        UserError: dvc.lock holds a conflict of git's, or DVC's configuration cannot be read.
    """
    if (pid := _running()) is not None:
        yield f"`dvc` is at work here (process {pid}): nothing is checked"
        return
    with closing(open_repo()) as repo:
        yield from _mend_lock(repo)
        yield from _mend_rwlock()
        yield from _mend_run_cache(Path(repo.cache.legacy.path, "runs"))


def recorded_stages() -> dict[str, Any]:
    """The stages of dvc.lock in the working directory, by name; none if there is no such file.

    Raises:
        UserError: it is damaged.
    """
    try:
        content = yaml_reader.parse(LOCK.read_bytes()) if LOCK.exists() else {"stages": {}}
        stages = {name: dict(stage) for name, stage in content["stages"].items()}
        for out in chain.from_iterable(stage.get("outs", []) for stage in stages.values()):
            if not (isinstance(out["path"], str) and isinstance(out["md5"], str)):
                raise TypeError(out)
    except (YAMLError, KeyError, TypeError, AttributeError, ValueError):
        raise UserError(f"{LOCK}: damaged; `make mend` sets it aside") from None
    return stages


def open_repo() -> Any:
    """DVC's view of the project in the working directory.

    Raises:
        UserError: its configuration or its database of checksums is damaged.
    """
    from dvc.dirs import site_cache_dir
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        return Repo(".")
    except DvcException as error:
        raise UserError(f"DVC: {error}") from None
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"{site_cache_dir()}/repo: DVC's database of checksums is damaged ({error}); remove that "
            "folder, DVC makes it anew"
        ) from None


def _running() -> int | None:
    """A process `dvc` at work in this project."""
    here = Path.cwd()
    for process in psutil.process_iter(["cmdline", "cwd"]):
        names = [Path(word).name for word in (process.info["cmdline"] or [])[:3]]
        folder = process.info["cwd"]
        if "dvc" in names and folder and here in (Path(folder), *Path(folder).parents):
            return int(process.pid)
    return None


def _mend_lock(repo: Any) -> Iterator[str]:
    from dvc.dvcfile import Lockfile
    from dvc.exceptions import DvcException

    if LOCK.is_file() and _CONFLICT.search(LOCK.read_bytes()):
        raise UserError(
            f"{LOCK}: holds a conflict of git's; take one side (`git checkout --ours {LOCK}` or "
            "--theirs), then run again"
        )
    try:
        Lockfile(repo, LOCK.name).load()
    except DvcException:
        shutil.move(LOCK, _SET_ASIDE)
        yield (
            f"{LOCK}: damaged, set aside as {_SET_ASIDE}; `dvc repro` writes it anew, with "
            "outputs from the run cache"
        )


def _mend_rwlock() -> Iterator[str]:
    if not _RWLOCK.exists():
        return
    try:
        holders = json.loads(_RWLOCK.read_bytes())
        free = isinstance(holders, dict) and not any(holders.values())
    except (ValueError, RecursionError):
        free = False
    if not free:
        _RWLOCK.unlink()
        yield f"{_RWLOCK}: removed, the `dvc` that held it was killed"


def _mend_run_cache(runs: Path) -> Iterator[str]:
    """DVC takes the newest file for the record of a run, even if it was killed writing it."""
    for path in sorted(runs.glob("*/*/*")):
        if not _WHOLE_ENTRY.fullmatch(path.name):
            path.unlink()
            yield f"{path}: removed, a record of a run that was not written to its end"
