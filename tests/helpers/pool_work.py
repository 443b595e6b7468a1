"""What `test_parallel_map` runs in a pool of processes."""

import os
import time
from pathlib import Path

from pipeline.errors import UserError


def lack(number: int) -> None:
    Path(f"/nowhere/{number}").read_bytes()


def refuse(number: int) -> None:
    raise UserError(f"record {number}")


def wait(number: int) -> None:
    Path(f"pid-{number}").write_text(str(os.getpid()))
    time.sleep(600)
