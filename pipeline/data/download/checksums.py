"""Checking files against what their publishers tell, once: a checksum of a terabyte takes an
hour."""

import hashlib
import zipfile
from pathlib import Path

from pipeline.data.download.manifest import Checksum, OfficialFile
from pipeline.utils import files, workdir

_CHUNK = 8 << 20  # bytes


def fault(path: Path, official: OfficialFile) -> str | None:
    """What is wrong with a file that claims to be this one: its size or its checksum, in a few
    words."""
    size = path.stat().st_size
    if official.bytes is not None and size != official.bytes:
        return f"{size:,} bytes, the official file has {official.bytes:,}"
    return (
        checksum_fault(official, digest(path, official.checksum.kind))
        if official.checksum
        else None
    )


def checksum_fault(official: OfficialFile, found: str) -> str | None:
    """What is wrong with a checksum."""
    expected = official.checksum
    if expected is None or found.startswith(expected.value):
        return None
    return f"{expected.kind} {found[: len(expected.value)]}, the official file has {expected.value}"


def damage(path: Path, name: str) -> str | None:
    """What is wrong with a file, to be called `name`, of which no checksum is known: zips carry
    some of their own."""
    if not name.endswith(".zip"):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        return f"a damaged zip: {error}"
    return None if damaged is None else f"a damaged zip: {damaged}"


def digest(path: Path, kind: str) -> str:
    """The checksum of a file in hexadecimal, from the note on it if the file has not changed
    since."""
    note = _note(path)
    fact = files.read_json(note) if note.exists() else {}
    if (fact.get("size"), fact.get("time"), fact.get("kind")) == (*_state(path), kind):
        return fact["value"]
    hasher = hashlib.new(kind)
    feed(hasher, path)
    remember(path, path, Checksum(kind, hasher.hexdigest()))
    return hasher.hexdigest()


def feed(hasher: "hashlib._Hash", path: Path) -> None:
    """Hash the bytes of a file."""
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            hasher.update(chunk)


def remember(path: Path, now: Path, found: Checksum) -> None:
    """Note the checksum of `path`, which is still at `now`."""
    size, time = _state(now)
    files.write_json(
        _note(path),
        {
            "path": str(path.resolve()),
            "size": size,
            "time": time,
            "kind": found.kind,
            "value": found.value,
        },
    )


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _note(path: Path) -> Path:
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    return workdir.root() / "checksums" / f"{path.name}-{name}.json"
