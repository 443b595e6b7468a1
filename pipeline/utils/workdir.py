"""Work folders, `.work/<fingerprint>/`: unfinished work, not tracked by git or DVC, that the next
attempt of the same stage resumes.

The fingerprint covers parameters and data, not code: the usual reason to resume is a crash that an
edit has fixed. Nor does it cover how a run is spread over processes and threads: when a node is
lost, the run goes on with the remaining ones.
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

from pipeline.errors import UserError
from pipeline.utils import dvc_state, files

SOURCE_FOLDERS = ("model", "pipeline", "stages")
LOCK_TIMEOUT = 60  # seconds to wait for another process in the same work folder
# Parameters that say on how many processes and threads a run is spread, and when it is logged and
# saved: results differ in their last digits at most.
EXECUTION_PARAMS = (
    "num_workers",
    "threads",
    "loader_workers",
    "log_every",
    "checkpoint_every",
    "max_nonfinite_steps",
    "evaluation_batch",
)
# Files of a work folder that hold no work yet.
BOOKKEEPING = ("code.json", "lock", "run_id")


def root() -> Path:
    """The folder of all work folders. It lies in the project's root even where DVC runs a stage in
    a temporary copy of the project."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve() / ".work"


def fingerprint(stage: str, params: Any, inputs: Iterable[Path]) -> str:
    """The name of a work folder: the stage, and a hash of its parameters and of the contents of its
    input files.

    Raises:
        UserError: an input file does not exist.
    """
    tree = _without_execution_params(params)
    digest = hashlib.sha256(json.dumps([stage, tree], sort_keys=True).encode())
    for path in inputs:
        if not path.is_file():
            raise UserError(
                f"{path}: not found; run the stage that makes it (`dvc repro` runs all that are needed)"
            )
        digest.update(files.sha256(path).encode())
    return f"{stage.replace('/', '-')}-{digest.hexdigest()[:16]}"


def folder(stage: str, params: dict[str, Any], inputs: Iterable[Path]) -> Path:
    """The work folder of a stage, created if there is none.

    Raises:
        UserError: an input file does not exist; or the code has changed since the work was begun,
            and RESUME=changed-code is not set.
    """
    path = root() / fingerprint(stage, params, inputs)
    path.mkdir(parents=True, exist_ok=True)
    _check_code(path)
    return path


def _without_execution_params(params: Any) -> Any:
    """Parameters as plain data without `EXECUTION_PARAMS`, at any depth."""
    if is_dataclass(params) and not isinstance(params, type):
        params = asdict(params)
    if not isinstance(params, dict):
        return params
    tree = {}
    for key, value in params.items():
        if key not in EXECUTION_PARAMS:
            tree[key] = _without_execution_params(value)
    return tree


@contextmanager
def locked(path: Path, timeout: float = LOCK_TIMEOUT) -> Iterator[None]:
    """Hold a work folder exclusively, in the process that writes: workers of a killed driver live
    on for seconds.

    Raises:
        UserError: another process holds it, after `timeout` seconds.
    """
    lock = FileLock(path / "lock")
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise UserError(f"{path}: another process works here; wait for it or stop it") from None
    with lock:
        yield


def finished(path: Path) -> Path:
    """An empty folder in the work folder for the stage's outputs. Never write to it after
    `publish`: the files are then shared with DVC's cache."""
    return files.fresh_directory(path / "finished")


def publish(path: Path, out: Path) -> None:
    """Hard-link the finished files of a work folder into the stage's output folder `out`, replacing
    its contents."""
    files.link_tree(path / "finished", out)
    note_published(path, sorted(out.iterdir()))


def publish_folder(path: Path, out: Path) -> None:
    """As `publish`, where DVC tracks the folder `out` as one output, not its entries."""
    files.link_tree(path / "finished", out)
    note_published(path, [out])


def note_published(path: Path, outs: Iterable[Path]) -> None:
    """Note that the work is done, with its outputs as DVC tracks them, for `clean`."""
    files.write_json(path / "published.json", {"outs": [out.as_posix() for out in outs]})


def clean() -> None:
    """Remove work folders whose published outputs are recorded in dvc.lock: until then a killed DVC
    would lose them. None where dvc.lock cannot be read: the `dvc` of another stage may be writing
    it.
    """
    try:
        recorded = _recorded_outputs()
    except UserError:
        return
    for note in sorted(root().glob("*/published.json")):
        outs = _published_outputs(note)
        if outs and all(_is_recorded(recorded.get(out), Path(out)) for out in outs):
            shutil.rmtree(note.parent, ignore_errors=True)  # another stage may do the same


def _published_outputs(note: Path) -> list[str]:
    """What a work folder has published; a note that is damaged goes, since its stage writes it
    anew."""
    try:
        outs = files.read_json(note)["outs"]
        if isinstance(outs, list) and all(isinstance(out, str) for out in outs):
            return outs
    except (UserError, KeyError, TypeError):
        pass
    print(
        f"{note}: damaged, removed; {note.parent} stays until its stage runs again", file=sys.stderr
    )
    note.unlink(missing_ok=True)
    return []


def _recorded_outputs() -> dict[str, dict[str, Any]]:
    """Entries of dvc.lock by the output's path."""
    recorded = {}
    for stage in dvc_state.recorded_stages().values():
        for out in stage.get("outs", []):
            recorded[out["path"]] = out
    return recorded


def _is_recorded(recorded: dict[str, Any] | None, out: Path) -> bool:
    """Whether an entry of dvc.lock fits the output on disk: a file's MD5, a folder's number of
    files and total size in bytes."""
    if recorded is None or not out.exists():
        return False
    if out.is_file():
        return recorded["md5"] == hashlib.md5(out.read_bytes()).hexdigest()
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    return (recorded.get("nfiles"), recorded.get("size")) == (len(sizes), sum(sizes))


def _check_code(path: Path) -> None:
    """Compare the project's modules with those recorded when the work was begun, and record
    them."""
    digests = _module_digests()
    record = path / "code.json"
    begun = any(entry.name not in BOOKKEEPING for entry in path.iterdir())
    if begun and record.exists():
        earlier = _recorded_modules(record)
        modules = sorted(digests.keys() | earlier.keys())
        changed = [name for name in modules if digests.get(name) != earlier.get(name)]
        if not changed:
            return
        if os.environ.get("RESUME") != "changed-code":
            names = ", ".join(changed[:5]) + (", …" if len(changed) > 5 else "")
            raise UserError(
                f"{path}: the code has changed since this work was begun ({names}); "
                "RESUME=changed-code resumes it, removing the folder starts over"
            )
        print(f"resuming with changed code: {', '.join(changed)}", file=sys.stderr)
    files.write_json(record, digests)


def _recorded_modules(record: Path) -> dict[str, str]:
    """The modules that work was begun with; of none is known where the record is damaged."""
    try:
        recorded = files.read_json(record)
    except UserError:
        return {}
    return recorded if isinstance(recorded, dict) else {}


def _module_digests() -> dict[str, str]:
    """SHA-256 of every module of the project, by path."""
    digests = {}
    for folder in SOURCE_FOLDERS:
        for path in sorted(Path(folder).rglob("*.py")):
            digests[path.as_posix()] = files.sha256(path)
    return digests
