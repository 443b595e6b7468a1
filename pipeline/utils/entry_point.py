"""What every entry point in `stages/` shares: arguments in, one-line errors out."""

import gc
import sys
from collections.abc import Callable

from pipeline.errors import UserError


def entry(main: Callable[..., None]) -> None:
    """Run `main` with the command line's words; a UserError ends in one line and exit status 1."""
    try:
        main(*sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        # or Python looks for garbage among all that is imported once more: half a second with torch
        gc.freeze()
