"""What every module of `stages/` shares: the command line in, one-line errors out."""

import gc
import inspect
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from pipeline.errors import UsageError
from pipeline.utils import machine_errors, surroundings

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # as a shell says it
READER_GONE = 128 + signal.SIGPIPE


def entry(main: Callable[..., None], names: Callable[[], Iterable[str]] | None = None) -> None:
    """Run `main` with the arguments of the command line.

    A UserError, and what the machine does to a stage (see `machine_errors`), ends in one line and
    exit status 1; an interrupt with 130, SIGTERM with 143, both after the clean-up of whatever was
    open. An error of the program itself keeps its traceback. Arguments that `main` does not take
    end in one line of usage and exit status 2, and so does a first argument that is none of
    `names()`.
    """
    arguments = sys.argv[1:]
    signal.signal(signal.SIGTERM, _terminate)
    surroundings.prepare()
    try:
        _check(main, arguments, list(names()) if names else None)
        main(*arguments)
        sys.stdout.flush()
    except UsageError as error:
        _end(2, f"usage: {_usage(main)}; {error}".removesuffix("; "))
    except KeyboardInterrupt:
        _end(INTERRUPTED, "error: interrupted; run it again to go on")
    except Terminated:
        _end(TERMINATED, "error: terminated; run it again to go on")
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            _end(READER_GONE, None)
        line = machine_errors.explain(error)
        if line is None:
            raise
        _end(1, f"error: {line}")
    finally:
        # or Python looks for garbage among all that is imported once more: half a second with torch
        gc.freeze()


class Terminated(SystemExit):
    """SIGTERM. Not an `Exception`, so that nothing takes it for an error that it can handle."""


def _terminate(number: int, frame: Any) -> NoReturn:
    # a second one, sent while the first one cleans up, ends the process at once
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise Terminated(TERMINATED)


def _end(status: int, line: str | None) -> NoReturn:
    """Print a line, unless nobody reads it, and end the process."""
    try:
        sys.stdout.flush()
        if line is not None:
            print(line, file=sys.stderr, flush=True)
    except OSError:  # else Python tries once more at its end, and complains
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if line is not None and not _is_closed(2):
            print(line, file=sys.stderr)
    raise SystemExit(status) from None


def _reader_is_gone() -> bool:
    """Whether the program that reads our output has ended, as `head` does."""
    return _is_closed(1) or _is_closed(2)


def _is_closed(descriptor: int) -> bool:
    """Whether an open file is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _check(main: Callable[..., None], arguments: list[str], names: list[str] | None) -> None:
    """Raises UsageError where the arguments do not fit."""
    known = f"one of {', '.join(names)}" if names else ""
    try:
        inspect.signature(main).bind(*arguments)
    except TypeError:
        raise UsageError(known) from None
    if names and arguments and arguments[0] not in names:
        raise UsageError(f"unknown {arguments[0]!r}, {known}")


def _usage(main: Callable[..., None]) -> str:
    """The command with what `main` takes, such as `python -m stages.export [NAME] [FOLDER]`."""
    spec = sys.modules["__main__"].__spec__
    words = [f"python -m {spec.name}" if spec else f"python {sys.argv[0]}"]
    for name, parameter in inspect.signature(main).parameters.items():
        word = name.upper()
        if parameter.kind is parameter.VAR_POSITIONAL:
            word = f"{word}..."
        elif parameter.default is not parameter.empty:
            word = f"[{word}]"
        words.append(word)
    return " ".join(words)
