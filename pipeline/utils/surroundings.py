"""What libraries take for granted of a machine: a short TMPDIR, a home that can be written."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from pipeline.utils import workdir

# The path of a socket has at most 107 bytes; Ray needs 82 for its names below TMPDIR, loader
# workers 35.
LONGEST = 107 - 82
TOKEN = Path(".ray", "auth_token")  # of Ray, read from the home


def prepare() -> None:
    """Set TMPDIR and HOME for this process and its children where they would not do."""
    shorten_temporary_folder()
    replace_home()


def shorten_temporary_folder() -> None:
    """Put temporary files into /tmp where TMPDIR is too long for sockets."""
    if len(os.fsencode(tempfile.gettempdir())) <= LONGEST:
        return
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        if os.access(folder, os.W_OK | os.X_OK):
            os.environ["TMPDIR"] = tempfile.tempdir = folder
            return


def replace_home() -> None:
    """`.work/home` where there is no home, or one that cannot be written: Ray and matplotlib keep
    files there. One with Ray's token is kept."""
    with suppress(RuntimeError):  # no HOME, and a user without an entry in /etc/passwd
        home = Path.home()
        if os.access(home, os.W_OK | os.X_OK) or (home / TOKEN).exists():
            return
    folder = workdir.root() / "home"
    with suppress(OSError):  # whoever needs it will say so
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(folder)
