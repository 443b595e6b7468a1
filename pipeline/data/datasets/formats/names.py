"""Which files of an archive or folder are a data set's, and the keys that images get from their
names."""

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

# What systems and programs leave beside people's files, in lower case. Names that start with a dot
# are hidden: `.DS_Store`, `._n01440764.tar` (AppleDouble), `.ipynb_checkpoints`.
_FOREIGN = frozenset(
    (
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "icon\r",
        "__macosx",
        "lost+found",
        "system volume information",
        "$recycle.bin",
        "@eadir",
        "#recycle",
        "@recycle",
        "#snapshot",
        "@recently-snapshot",
        "__pycache__",
    )
)
# of files that are not yet whole, and of editors' copies
_UNFINISHED = (".partial", ".part", ".crdownload", ".download", ".aria2", ".tmp", "~")


def is_data(name: str) -> bool:
    """Whether a path in an archive or folder may be a file of a data set: nothing hidden, nothing
    of a file manager or network drive, no unfinished copy."""
    if name.lower().endswith(_UNFINISHED):
        return False
    for part in name.split("/"):
        if (part.startswith(".") and part not in (".", "..")) or part.lower() in _FOREIGN:
            return False
    return True


def files_below(folder: Path) -> list[str]:
    """Paths of the data set's files below a folder, sorted.

    Links are followed, also to folders, but for those that lead back to a folder above. What is
    neither file nor folder (a pipe, a device, a link to nothing) is left out.
    """
    return sorted(_walk(folder))


def _walk(root: Path) -> Iterator[str]:
    waiting: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(root), "", frozenset())]
    while waiting:
        folder, prefix, above = waiting.pop()
        status = os.stat(folder)
        identity = status.st_dev, status.st_ino
        if identity in above:
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                if not is_data(entry.name):
                    continue
                if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                    waiting.append((entry.path, f"{prefix}{entry.name}/", above | {identity}))
                elif os.path.isfile(entry.path) if entry.is_symlink() else entry.is_file():
                    yield prefix + entry.name


def image_key(name: str, official: re.Pattern[str], folder: str = "") -> str:
    """The key of an image by its path below `folder`: the official name without its suffix; any
    other path as it is, behind the folder's name, so that different files have different keys."""
    path = posixpath.normpath(f"/{name}")[1:]
    if official.fullmatch(path):
        return path.rpartition(".")[0]
    return f"{folder}/{path}" if folder else path
