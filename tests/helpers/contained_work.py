"""What `test_contained` runs in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline.errors import UserError

# A program that starts another one, gives it away and ends, as daemons do.
DAEMON = "sleep 600 & echo $! >> pids"


def start_daemons() -> None:
    """Leave orphans, one in a session of its own, and note their process ids."""
    for alone in (False, True):
        subprocess.run(["sh", "-c", DAEMON], start_new_session=alone, check=True)


def finish() -> None:
    start_daemons()
    os.write(2, b"noise of a library\n")


def refuse() -> None:
    start_daemons()
    raise UserError("params.yaml: x")


def lack() -> None:
    Path("/nowhere/x").read_text()


def give_up() -> None:
    sys.exit(15)


def crash() -> None:
    start_daemons()
    os.write(2, b"*** stack of C++ ***\n")
    os.kill(os.getpid(), signal.SIGKILL)


def wait() -> None:
    start_daemons()
    Path("ready").touch()
    time.sleep(600)


def fail() -> None:
    raise ZeroDivisionError("a bug")
