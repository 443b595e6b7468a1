"""What a machine and its people do to a stage, in one line: no space, memory or permission, a
signal, a damaged file. Errors of the program itself keep their traceback.

Classes of libraries are known by their names and messages, so that nothing is imported here.
"""

import errno
import os
import re
import shutil
import tempfile
from pathlib import Path

from pipeline.errors import UserError

FULL = 1 << 20  # bytes: with less than this a file system is full
AGAIN = "run the stage again"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
ADVICE = {
    "make room there, and " + AGAIN: NO_SPACE,
    "it must be readable and writable: see its owner, its mode and how its file system is "
    "mounted": (errno.EACCES, errno.EPERM, errno.EROFS),
    "something else stands there, or is in use (a file, a folder, a mount point): move it away": (
        errno.EEXIST,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.ENOTEMPTY,
        errno.EBUSY,
    ),
    "raise the limit (`ulimit -n`), or use fewer workers": (errno.EMFILE, errno.ENFILE),
    "the limit of processes or memory is reached: use fewer workers": (errno.EAGAIN, errno.ENOMEM),
    "run the stage that makes it (`dvc repro` runs all that are needed)": (errno.ENOENT,),
    "the disk or its network fails": (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO),
}
MEMORY = "memory ran out; use fewer workers, more loop.gradient_accumulation, or a smaller batch"
PEER_LOST = (
    "another training worker has ended or does not answer; run the stage again, it resumes from "
    "its last checkpoint"
)
# Messages of RuntimeErrors, mostly torch's, and what they mean.
MESSAGES = {
    r"unable to allocate shared memory|shared memory limit|killed by signal: Bus error": (
        "/dev/shm is too small for what loader workers hand over; enlarge it (`docker run "
        "--shm-size=8g`), or set loop.loader_workers to 0 or to fewer"
    ),
    r"DataLoader worker .*(killed by signal|exited unexpectedly)": (
        "a loader worker was killed, perhaps because memory ran out; run the stage again, with "
        "fewer loop.loader_workers if this recurs"
    ),
    r"DataLoader timed out": (
        "loader workers have made no batch for a long time; does the file system of data/ answer?"
    ),
    r"(CUDA|HIP|XPU).*out of memory": (
        "the memory of the GPU ran out; raise loop.gradient_accumulation, or lower the batch"
    ),
    r"out of memory|[Cc]an(no|')t allocate memory|bad_alloc|unable to mmap": MEMORY,
    r"gloo/transport|NCCL (error|communicator)|Connection (closed|reset) by|collective operation "
    r"timeout": PEER_LOST,
    r"can't start new thread": "the limit of threads is reached (`ulimit -u`); use fewer workers",
    r"received \d+ items of ancdata|[Tt]oo many open files": (
        "too many open files; raise the limit (`ulimit -n`), or use fewer loop.loader_workers"
    ),
}
DAMAGED = r"Parquet|Thrift|magic bytes|corrupt|[Dd]ecompress|CRC|checksum"


def explain(error: BaseException) -> str | None:
    """One line on an error that is not the program's fault; None for one that is."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return text
    if isinstance(error, OSError):
        return _system_error(error, text)
    if isinstance(error, MemoryError):
        return MEMORY
    if isinstance(error, RuntimeError):
        return next((line for known, line in MESSAGES.items() if re.search(known, text)), None)
    if type(error).__module__ == "pyarrow.lib" and re.search(DAMAGED, text):
        return f"a damaged Parquet file: {text[:300]}; remove it, and run the stage that makes it"
    return None


def is_full(folder: str | Path) -> bool:
    """Whether the file system of a folder has no space left."""
    try:
        return shutil.disk_usage(folder).free < FULL
    except OSError:  # there is no such folder
        return False


def _system_error(error: OSError, text: str) -> str:
    """An error of the operating system, or of a library that calls its own by the same class."""
    code = error.errno
    if code is None or code <= 0:
        return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
    reason = os.strerror(code).lower()
    place = _place(error)
    if not place and code in NO_SPACE:
        place = ", ".join(filter(is_full, (".", tempfile.gettempdir(), "/dev/shm")))
    line = f"{place}: {reason}" if place else reason
    advice = next((advice for advice, numbers in ADVICE.items() if code in numbers), None)
    return f"{line}; {advice}" if advice else line


def _place(error: OSError) -> str:
    """The file that an error is about, relative to the working directory if it lies there."""
    target = error.filename if error.filename2 is None else error.filename2
    if isinstance(target, int) or target is None:
        return ""
    path = os.fsdecode(target)
    return os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else path
