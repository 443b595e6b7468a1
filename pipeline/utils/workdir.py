"""Where unfinished work lives: `.work/<fingerprint>/`, untracked, found again by the next try of
the same stage.

The fingerprint covers parameters and data, not code: the usual reason to resume is a crash that an
edit has fixed. Nor does it cover where a run is carried out: when a node is lost, the run goes on
on those that are left.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.config import yaml_reader
from pipeline.errors import UserError
from pipeline.utils import files

SOURCE_FOLDERS = ("model", "pipeline", "stages")
PATIENCE = 60  # seconds to wait for another process that works on the same
PLACE = (
    "num_workers",
    "threads",
    "loader_workers",
)  # parameters of where; they change last digits at most
BOOKKEEPING = (
    "code.json",
    "lock",
    "run_id",
)  # what a work folder holds before there is any work in it


def root() -> Path:
    """The folder of all unfinished work, at the project's root also from a throw-away copy that DVC
    works in."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve() / ".work"


def fingerprint(stage: str, params: Any, inputs: Iterable[Path]) -> str:
    """A name for the work of a stage: a hash of its parameters and of the contents of its input
    files.

    Raises:
        UserError: an input file is not there.
    """
    tree = _without_place(params)
    digest = hashlib.sha256(json.dumps([stage, tree], sort_keys=True).encode())
    for path in inputs:
        if not path.is_file():
            raise UserError(
                f"{path}: not found; run the stage that makes it (`dvc repro` runs all that are needed)"
            )
        digest.update(files.sha256(path).encode())
    return f"{stage.replace('/', '-')}-{digest.hexdigest()[:16]}"


def folder(stage: str, params: dict[str, Any], inputs: Iterable[Path]) -> Path:
    """The work folder of a stage, made if there is none.

    Raises:
        UserError: an input file is not there; or the folder was begun by other code: set
        RESUME=changed-code to go on
            with it all the same.
    """
    path = root() / fingerprint(stage, params, inputs)
    path.mkdir(parents=True, exist_ok=True)
    _check_code(path)
    return path


def _without_place(tree: Any) -> Any:
    """The parameters as plain data without those in `PLACE`, at any depth."""
    tree = asdict(tree) if is_dataclass(tree) else tree
    if not isinstance(tree, dict):
        return tree
    return {key: _without_place(value) for key, value in tree.items() if key not in PLACE}


@contextmanager
def locked(path: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold a work folder alone. For the process that writes: workers of a killed driver live on for
    seconds."""
    lock = FileLock(path / "lock")
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise UserError(f"{path}: another process works here; wait for it or stop it") from None
    with lock:
        yield


def finished(path: Path) -> Path:
    """An empty folder in the work folder for what the stage hands out. Never written to after
    `publish`: the files are then shared with DVC's cache."""
    return files.fresh_directory(path / "finished")


def publish(path: Path, out: Path) -> None:
    """Hard-link the finished files of a work folder into the stage's output folder `out`, replacing
    what is there."""
    files.link_tree(path / "finished", out)
    names = sorted(child.name for child in out.iterdir())
    files.write_json(
        path / "published.json", {"outs": [f"{out.as_posix()}/{name}" for name in names]}
    )


def publish_folder(path: Path, out: Path) -> None:
    """As `publish`, where DVC tracks the folder `out` itself and not what is in it."""
    files.link_tree(path / "finished", out)
    files.write_json(path / "published.json", {"outs": [out.as_posix()]})


def clean() -> None:
    """Remove work whose published outputs DVC has recorded: until then a killed DVC would lose
    them."""
    recorded = _recorded_outputs()
    for note in sorted(root().glob("*/published.json")):
        if all(_holds(recorded.get(out), Path(out)) for out in files.read_json(note)["outs"]):
            shutil.rmtree(note.parent)


def _recorded_outputs() -> dict[str, dict[str, Any]]:
    """Outputs in dvc.lock by path."""
    lock = Path("dvc.lock")
    if not lock.exists():
        return {}
    stages = (yaml_reader.parse(lock.read_bytes()) or {}).get("stages", {})
    return {out["path"]: out for stage in stages.values() for out in stage.get("outs", [])}


def _holds(recorded: dict[str, Any] | None, out: Path) -> bool:
    """Whether a record is of the output as it stands: a file's MD5, a folder's number of files and
    total size."""
    if recorded is None or not out.exists():
        return False
    if out.is_file():
        return recorded["md5"] == hashlib.md5(out.read_bytes()).hexdigest()
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    return (recorded["nfiles"], recorded["size"]) == (len(sizes), sum(sizes))


def _check_code(path: Path) -> None:
    """Compare the project's modules with those that began the work."""
    now = _modules()
    note = path / "code.json"
    begun = any(other.name not in BOOKKEEPING for other in path.iterdir())
    if begun and note.exists():
        before = files.read_json(note)
        changed = sorted(
            name for name in now.keys() | before.keys() if now.get(name) != before.get(name)
        )
        if changed and os.environ.get("RESUME") != "changed-code":
            shown = ", ".join(changed[:5]) + (", …" if len(changed) > 5 else "")
            raise UserError(
                f"{path}: begun by other code ({shown} changed); RESUME=changed-code goes on with it, "
                "removing the folder starts over"
            )
        if not changed:
            return
        print(f"resuming with changed code: {', '.join(changed)}", file=sys.stderr)
    files.write_json(note, now)


def _modules() -> dict[str, str]:
    return {
        path.as_posix(): files.sha256(path)
        for top in SOURCE_FOLDERS
        for path in sorted(Path(top).rglob("*.py"))
    }
