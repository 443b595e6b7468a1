"""A function in a process that takes along, when it ends, whatever it has started.

Ray's processes outlive a driver that is killed, its C++ code ends a driver without a word or with
a stack, and its signal handlers are not ours. So a driver runs two processes below the stage: the
keeper between them becomes the parent of every orphan (Linux's "child subreaper"), and kills them
all as soon as the driver or the stage has ended, however that happened.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from pipeline.errors import UserError
from pipeline.utils import machine_errors

GRACE = 20.0  # seconds for a driver to end after its result, and for a keeper to end the rest
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of <linux/prctl.h>


class Outcome(NamedTuple):
    """line: what a person is told, "" for success. bug: the traceback of an error of the
    program."""

    line: str
    bug: str = ""


def run(
    function: Callable[..., None],
    *arguments: Any,
    log: Path,
    ended_early: str,
    limit: float | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """`function(*arguments)` in a process of its own, of which nothing is left afterwards.

    Args:
        log: a file for all that the function and what it starts write to stdout and stderr. It
            stays where the function has failed.
        ended_early: the error where the process ends without a result, or not within `limit`
            seconds.
        meanwhile: called five times a second.

    Raises:
        UserError: as raised by the function, or `ended_early`.
        RuntimeError: another error of the function, with its traceback.
    """
    fork = multiprocessing.get_context("fork")  # the keeper imports nothing more
    ours, theirs = fork.Pipe()
    keeper = fork.Process(target=_keep, args=(ours, theirs, log, function, arguments))
    keeper.start()
    theirs.close()
    end = time.monotonic() + (limit or float("inf"))
    outcome = Outcome(ended_early)
    try:
        while not ours.poll(0.2) and time.monotonic() < end:
            meanwhile()
        if ours.poll():
            with suppress(EOFError):
                outcome = ours.recv()
    finally:
        ours.close()
        keeper.join(2 * GRACE)
        meanwhile()
    if outcome.bug:
        raise RuntimeError(outcome.bug)
    if outcome.line:
        raise UserError(outcome.line)
    log.unlink(missing_ok=True)


def _keep(
    ours: Connection,
    theirs: Connection,
    log: Path,
    function: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    """Start the driver, send its outcome, and end what is left of it; `ours` is the stage's end of
    the pipe, which closes when the stage ends."""
    ours.close()
    os.setsid()  # Ctrl-C is for the stage
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (1, 2):
        os.dup2(output, stream)
    # forked, it would hang where the stage has used gRPC before, whose threads a fork loses
    spawn = multiprocessing.get_context("spawn")
    results, sender = spawn.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="r-", ignore_cleanup_errors=True) as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        driver = spawn.Process(target=_drive, args=(sender, function, arguments))
        driver.start()
        sender.close()
        with suppress(EOFError, OSError):
            if results in wait([theirs, results]):
                outcome = results.recv()
                driver.join(GRACE)
                theirs.send(outcome)
        _end_descendants()


def _drive(sender: Connection, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    try:
        function(*arguments)
        sender.send(Outcome(""))
    except BaseException as error:  # noqa: BLE001 (handed on; SystemExit is how Ray gives up)
        line = machine_errors.explain(error)
        sender.send(Outcome(line) if line else Outcome("", traceback.format_exc()))


def _end_descendants() -> None:
    """Kill all descendants of this process; orphans among them have become its children."""
    end = time.monotonic() + GRACE
    while (left := psutil.Process().children(recursive=True)) and time.monotonic() < end:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=1)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
