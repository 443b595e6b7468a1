"""Looking at processes."""

import time
from collections.abc import Callable
from pathlib import Path


def is_alive(process: int) -> bool:
    """Whether a process runs; one that has ended and that nobody waited for does not."""
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2][:3]
    except FileNotFoundError:
        return False


def until(look: Callable[[], bool]) -> None:
    """Wait until `look` is true, half a minute at most."""
    for _ in range(600):
        if look():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")
