"""What every module of `stages/` shares: the command line in, one-line errors out."""

import gc
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.errors import UsageError, UserError


def entry(main: Callable[..., None], names: Callable[[], Iterable[str]] | None = None) -> None:
    """Run `main` with the arguments of the command line.

    A UserError ends in one line and exit status 1. Arguments that `main` does not take end in one
    line of usage and exit status 2, and so does a first argument that is none of `names()`.
    """
    arguments = sys.argv[1:]
    try:
        _check(main, arguments, list(names()) if names else None)
        main(*arguments)
    except UsageError as error:
        print(f"usage: {_usage(main)}; {error}".removesuffix("; "), file=sys.stderr)
        raise SystemExit(2) from None
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        # or Python looks for garbage among all that is imported once more: half a second with torch
        gc.freeze()


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
    words = ["python -m", f"stages.{Path(sys.argv[0]).stem}"]
    for name, parameter in inspect.signature(main).parameters.items():
        word = name.upper()
        if parameter.kind is parameter.VAR_POSITIONAL:
            word = f"{word}..."
        elif parameter.default is not parameter.empty:
            word = f"[{word}]"
        words.append(word)
    return " ".join(words)
