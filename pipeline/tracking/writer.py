"""The process that writes MLflow runs from the records that stages leave, of several stages at
once.

`python -m pipeline.tracking.writer SPOOL LOCK IDLE`: the folder of runs (see `spool`), the file
descriptor of its lock, and the seconds without a stage after which it ends. What a killed writer
has left is written by the next one, from its first record: MLflow ignores what it has already.
Where the records end without `close` and their lock is free, the stage was killed, and so says its
run.
"""

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.tracking import spool, store
from pipeline.tracking.mlflow_run import MAX_POINTS, UNREACHABLE, MlflowRun, Point

POLL_SECONDS = 0.5  # between two looks at the records
# Attempts to write a run, and again as many to begin and end it without what it recorded: one that
# kills its writer must not stop the others for ever.
ATTEMPTS = 5
PATIENCE = 120.0  # seconds for a store that is busy, as a database that another program has locked
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def main(folder: Path, lock: int, idle: float) -> None:
    """Write runs until there has been none for `idle` seconds."""
    os.environ |= ENVIRONMENT
    # runs wait in line behind one whose server does not answer
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    root = folder.parents[1]
    os.chdir(root)
    database = None
    runs: dict[Path, RecordedRun] = {}
    end = time.monotonic() + idle
    while time.monotonic() < end or not _released(folder, lock):
        if database is not None and _identity() != database:
            _start_over()
        for path in spool.pending(folder):
            if path not in runs:
                runs[path] = RecordedRun(path, root)
        for path, run in list(runs.items()):
            if run.advance():
                spool.remove(path)
                del runs[path]
            end = time.monotonic() + idle
        database = database or _identity()
        time.sleep(POLL_SECONDS)


def _identity() -> tuple[int, int] | None:
    """Device and inode of the database, if there is one."""
    try:
        facts = os.stat(store.DATABASE)
    except FileNotFoundError:
        return None
    return facts.st_dev, facts.st_ino


def _start_over() -> None:
    """Become a new writer with the same lock: MLflow would go on with a database that was
    deleted."""
    os.chdir(spool.CODE)
    os.execv(sys.executable, sys.orig_argv)


def _released(folder: Path, lock: int) -> bool:
    """Free the lock, unless a stage has come that saw it held."""
    fcntl.flock(lock, fcntl.LOCK_UN)
    return not spool.pending(folder) or not spool.try_lock(lock)


class RecordedRun:
    """A run in the spool, and the MLflow run that it becomes."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root
        self._records = open(folder / "records.jsonl", "rb")  # noqa: SIM115 (closed by `advance`)
        self._run: MlflowRun | None = None
        self._has_failed = False
        self._is_watched = False
        self._attempts = self._count_attempt()

    def advance(self) -> bool:
        """Write what the stage has recorded since; True: the run is over."""
        ended = spool.try_lock(self._records.fileno())  # before reading: nothing comes after that
        closed = self._attempts > 2 * ATTEMPTS
        for record in _merged(self._new_records()):
            if closed:
                break
            if self._attempts > ATTEMPTS and record["call"] not in ("open", "close"):
                continue
            if not self._write(record):
                return False
            closed = record["call"] == "close"
        if ended and not closed:
            changed = os.fstat(self._records.fileno()).st_mtime
            closed = self._write({"call": "close", "status": "KILLED", "end": int(changed * 1000)})
        if closed:
            self._records.close()
        elif self._run is not None and not self._is_watched:
            self._is_watched = True
            self._write({"call": "watch"})
        return closed

    def _new_records(self) -> Iterator[dict[str, Any]]:
        """The records that are whole; a killed stage may have left half a line, a machine that
        lost power a line of zeros."""
        while True:
            start = self._records.tell()
            line = self._records.readline()
            if not line.endswith(b"\n"):
                self._records.seek(start)
                return
            record = _parsed(line)
            if record is None:
                self._complain(f"{self._folder.name}: a damaged record is left out")
            else:
                yield record

    def _write(self, record: dict[str, Any]) -> bool:
        """Write one record. A failure does not stop the others, unless the run was deleted
        meanwhile: it is restored or replaced, and False says that its records are read anew."""
        call = record["call"]
        try:
            _patiently(lambda: self._hand_over(record))
        except Exception as error:  # noqa: BLE001 (MLflow's, and those of whatever store it uses)
            if self._run is not None and self._run.is_deleted() and self._attempts < ATTEMPTS:
                self._attempts = self._count_attempt()
                self._records.seek(0)
                return False
            line = " ".join(str(error).split())
            self._complain(f"{call} failed: {type(error).__name__}: {line}")
            if UNREACHABLE in line:
                self._run = None  # each record would wait as long; no other is written
        return True

    def _hand_over(self, record: dict[str, Any]) -> None:
        """Give a record to the MLflow run, which an "open" begins."""
        arguments = {key: value for key, value in record.items() if key != "call"}
        if record["call"] == "open":
            params = arguments.pop("params")
            self._run = MlflowRun(self._root, self._folder, **arguments)
            self._run.params(params)
        elif self._run is not None:
            getattr(self._run, record["call"])(**arguments)

    def _complain(self, trouble: str) -> None:
        """Log a failure; the first one of a run is also for people."""
        if self._has_failed:
            print(trouble, file=sys.stderr, flush=True)
        else:
            spool.leave_message(self._folder.parent, trouble)
            self._has_failed = True

    def _count_attempt(self) -> int:
        path = self._folder / "attempts"
        text = path.read_text(errors="replace").strip() if path.exists() else ""
        attempts = int(text) + 1 if text.isdecimal() else 1
        path.write_text(str(attempts))
        if attempts > ATTEMPTS:
            self._complain(
                f"{self._folder.name}: given up after {ATTEMPTS} attempts; "
                "its run is without what it recorded"
            )
        return attempts


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A record; None where the line is damaged."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "call" in record else None


def _patiently(work: Callable[[], None]) -> None:
    """`work`, again and again while the store is busy."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except Exception as error:
            code = getattr(error, "error_code", None)
            if code != "TEMPORARILY_UNAVAILABLE" or time.monotonic() > end:
                raise
        time.sleep(POLL_SECONDS)


def _merged(records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same records, consecutive metrics as one: MLflow writes each in a transaction."""
    points: list[Point] = []
    for record in records:
        if record["call"] == "metrics":
            time, step = record["time"], record["step"]
            points += [(key, value, time, step) for key, value in record["values"].items()]
        if points and (record["call"] != "metrics" or len(points) >= MAX_POINTS):
            yield {"call": "metrics", "points": points}
            points = []
        if record["call"] != "metrics":
            yield record
    if points:
        yield {"call": "metrics", "points": points}


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
