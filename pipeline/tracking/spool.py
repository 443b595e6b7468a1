"""The files by which stages hand records to the writer, `.work/tracking/<run>/` in the project's
root.

A stage appends records to `records.jsonl`, one JSON object a line, and keeps the file locked while
it lives: the kernel frees the lock however the stage ends, so that the writer can tell a killed
stage. `files/` holds copies or hard links of artifacts and models, which DVC may move once the
stage has ended; `run_id` is the id of the MLflow run once there is one. The writer holds
`writer.lock`, and removes the folder of a run when all of it is written.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from pipeline.utils import workdir

CODE = Path(__file__).resolve().parents[2]  # the folder that holds `model` and `pipeline`
IDLE_SECONDS = 20.0  # that a writer waits for the next stage


def folder() -> Path:
    """The folder of all runs that are not written yet."""
    return workdir.root() / "tracking"


def create() -> tuple[Path, IO[str]]:
    """A folder for a new run, and its `records.jsonl`, locked and open for writing."""
    path = folder() / f"{time.time_ns()}-{os.getpid()}"
    (path / "files").mkdir(parents=True)
    records = open(path / "records.jsonl", "w", encoding="utf-8", buffering=1)  # noqa: SIM115
    fcntl.flock(records, fcntl.LOCK_EX)
    return path, records


def pending(spool: Path) -> list[Path]:
    """The folders of runs that are not wholly written, the oldest first. A run exists from its
    first record on."""
    records = spool.glob("*/records.jsonl")
    return sorted(path.parent for path in records if path.stat().st_size)


def try_lock(file: IO | int) -> bool:
    """Lock an open file unless another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def start_writer() -> bool:
    """Start the writer of this project if none is running, and say whether that was so.

    The writer inherits the lock, so that of several stages one starts it. It gets a session of its
    own (Ctrl-C is for the stage), is nobody's child (Ray kills a worker's children), and has none
    of our files open (`make | tee` ends when we do).
    """
    spool = folder()
    spool.mkdir(parents=True, exist_ok=True)
    with open(spool / "writer.lock", "w") as lock, open(log(spool), "a") as output:
        if not try_lock(lock):
            return False
        number = lock.fileno()
        command = [sys.executable, "-m", "pipeline.tracking.writer"]
        arguments = [str(spool), str(number), str(IDLE_SECONDS)]
        subprocess.run(
            ["sh", "-c", '"$@" &', "sh", *command, *arguments],
            cwd=CODE,
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            check=True,
        )
    return True


def log(spool: Path) -> Path:
    """The file with all that the writer and MLflow say."""
    return spool.with_name("tracking.log")


def remove(run: Path) -> None:
    """Remove the folder of a run that is wholly written."""
    shutil.rmtree(run, ignore_errors=True)


def leave_message(spool: Path, text: str) -> None:
    """Log one line, and leave it for the next stage that begins or ends to print."""
    line = f"tracking: {text}\n"
    sys.stderr.write(line)  # the log
    sys.stderr.flush()
    with open(spool / "messages", "a", encoding="utf-8") as messages:
        messages.write(line)


def print_messages() -> None:
    """Print the writer's messages that no stage has printed yet on stderr."""
    messages = folder() / "messages"
    taken = messages.with_name(f"messages-{os.getpid()}")
    try:
        messages.rename(taken)
    except FileNotFoundError:
        return
    sys.stderr.write(taken.read_text(encoding="utf-8"))
    taken.unlink()
