"""Whether the project's files are whole: `python -m stages.integrity mend` and `… verify`."""

from pathlib import Path

from pipeline.errors import UserError
from pipeline.utils import dvc_state, verify
from pipeline.utils.entry_point import entry


def main(action: str) -> None:
    """`mend`: what a killed `dvc` has left; `make repro` begins with it. `verify`: compare all data
    and models with the checksums taken when they were made.

    Raises:
        UserError: there are damaged files, each with a line of its own on the terminal.
    """
    if action == "mend":
        for line in dvc_state.mend():
            print(line)
        return
    damaged = -1  # the last line is no damage
    for line in verify.damages(Path.cwd()):
        print(line)
        damaged += 1
    if damaged:
        raise UserError(f"{damaged} damaged; the commands above mend it")


if __name__ == "__main__":
    entry(main, lambda: ("mend", "verify"))
