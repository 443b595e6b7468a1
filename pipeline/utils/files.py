"""Files that are either whole or absent, and their checksums."""

import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.utils import machine_errors

OUTPUT_FOLDERS = ("data", "runs", "results", ".work")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to. On success it is flushed to disk and renamed to
    `path`, on failure it is removed.

    Raises:
        OSError: it cannot be written; it names `path`, and says so where libraries say otherwise
            (torch: "unexpected pos 576 vs 534", NumPy: "300 requested and 26 written").
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            error.filename = error.filename or str(path)
        elif machine_errors.is_full(path.parent):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with sorted keys and a final newline, atomically."""
    with replacing(path) as temporary:
        text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def check_regular(path: Path) -> None:
    """Whatever stands at a path, if anything, is a file: to open a FIFO is to wait for a writer,
    and some devices have no end.

    Raises:
        UserError: it is a folder, a FIFO, a socket or a device.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a file; remove it, and run the stage that makes it")


def read_json(path: Path) -> Any:
    """Parse a JSON file. Raises UserError that names the file when it is absent or broken."""
    check_regular(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run the stage that makes it") from None
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: not valid JSON: {error}; in .work a damaged file can be removed, `make verify` "
            "names those of outputs"
        ) from None


def write_all(file: io.FileIO, data: bytes) -> None:
    """Write to an unbuffered file: in one call, or more where the system takes less at a time.

    Raises:
        OSError: with the name of the file, such as when the disk is full.
    """
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file.name)) from None


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes. Raises UserError where it is no file (see
    `check_regular`)."""
    check_regular(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fresh_directory(path: Path) -> Path:
    """An empty directory at `path`, whatever was there: a file, a mount point, a link. Of a link,
    the link goes and not what it points to.

    Raises:
        UserError: a relative path that leads into none of the project's `OUTPUT_FOLDERS`, or a
            folder around the project or a home folder.
    """
    if not _may_be_removed(path):
        raise UserError(f"{path}: no output folder of this project: nothing is removed there")
    if path.is_symlink() or path.exists() and not path.is_dir():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, exist_ok=True)
    if rest := sorted(path.iterdir()):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(rest[0]))
    return path


def _may_be_removed(path: Path) -> bool:
    """By the path as it is written: an output folder may be a link to another disk. Stages write
    relative paths; absolute ones are work folders and those of callers with a folder of their
    own."""
    project, whole = Path(os.environ.get("DVC_ROOT", ".")).resolve(), Path.cwd() / path
    if ".." in path.parts or any(kept.is_relative_to(whole) for kept in (project, Path.home())):
        return False
    return path.is_absolute() or (len(path.parts) > 1 and path.parts[0] in OUTPUT_FOLDERS)


def require_writable(folder: Path) -> None:
    """Raises OSError where nothing can be written into a folder, which is made if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def link_tree(source: Path, target: Path) -> None:
    """Publish a finished folder under `target` by hard links (copies across file systems)."""
    fresh_directory(target)
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir()
        else:
            link(path, copy)


def link(source: Path, target: Path) -> None:
    """Publish a finished file as `target` by a hard link, or a copy across file systems."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
