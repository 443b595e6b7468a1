"""Checking files against what their publishers declare, once: a checksum of a terabyte takes an
hour."""

import hashlib
import lzma
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.data.download.manifest import Checksum, OfficialFile
from pipeline.errors import UserError
from pipeline.utils import files, workdir
from pipeline.utils.progress import size

_CHUNK = 8 << 20  # bytes
# what zipfile raises, the bytes being anything
_BROKEN_ZIP = (
    zipfile.BadZipFile,
    EOFError,
    OSError,
    RuntimeError,  # encrypted, or a method that is not known
    ValueError,
    OverflowError,
    zlib.error,
    struct.error,
    lzma.LZMAError,
)
_MAX_RATIO = 100  # of the contents to the zip; JSON has some ten


def fault(path: Path, official: OfficialFile) -> str | None:
    """What is wrong with a file that claims to be this one, in a few words: its size or its
    checksum."""
    length = path.stat().st_size
    if official.bytes is not None and length != official.bytes:
        return f"{length:,} bytes, the official file has {official.bytes:,}"
    if official.checksum is None:
        return None
    return checksum_fault(official.checksum, digest(path, official.checksum.kind))


def checksum_fault(expected: Checksum, value: str) -> str | None:
    """What is wrong with the checksum `value`, in hexadecimal, of a file."""
    if value.startswith(expected.value):
        return None
    return f"{expected.kind} {value[: len(expected.value)]}, the official file has {expected.value}"


def damage(path: Path, name: str) -> str | None:
    """What is wrong with a file, to be called `name`, of which no checksum is known: zips carry
    some of their own."""
    if not name.endswith(".zip"):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
            if claimed > _MAX_RATIO * path.stat().st_size:
                return f"a damaged zip: claims to hold {size(claimed)}"
            damaged = archive.testzip()
    except _BROKEN_ZIP as error:
        return f"a damaged zip: {error}"
    return None if damaged is None else f"a damaged zip: {damaged}"


def digest(path: Path, kind: str) -> str:
    """The checksum of a file in hexadecimal, from the note on it if the file has not changed
    since."""
    note = _note(path)
    if (note.get("size"), note.get("time"), note.get("kind")) == (*_state(path), kind):
        return note["value"]
    hasher = hashlib.new(kind)
    feed(hasher, path)
    remember(path, path, Checksum(kind, hasher.hexdigest()))
    return hasher.hexdigest()


def _note(path: Path) -> dict[str, Any]:
    """What is noted of a file; empty where nothing is, or nothing that can be read."""
    with suppress(UserError):
        note = files.read_json(_note_path(path))
        return note if isinstance(note, dict) and "value" in note else {}
    return {}


def feed(hasher: "hashlib._Hash", path: Path) -> None:
    """Hash the bytes of a file."""
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)


def remember(path: Path, current_path: Path, checksum: Checksum) -> None:
    """Note the checksum of the file that will be `path`, and is still `current_path`."""
    length, time = _state(current_path)
    note = {
        "path": str(path.resolve()),
        "size": length,
        "time": time,
        "kind": checksum.kind,
        "value": checksum.value,
    }
    files.write_json(_note_path(path), note)


def _state(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _note_path(path: Path) -> Path:
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    return workdir.root() / "checksums" / f"{path.name}-{name}.json"
