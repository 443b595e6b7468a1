"""Files in archives and folders: read in place, never unpacked.

Archives come from elsewhere. No name in one becomes the name of a file, and sizes are limited
before anything is expanded.
"""

import errno
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Self

from pipeline.data.datasets.formats import names

# bytes of an image or mask (choice: the largest real ones have a quarter of it)
LARGEST = 64 << 20
# What zipfile raises for damage, encryption and unknown compression,
_CONTENT_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
# and for damaged headers.
_ZIP_ERRORS = (*_CONTENT_ERRORS, ValueError, OverflowError)


class BadMember(Exception):
    """A file in an archive or folder cannot be used. The message is the reason: `kind` or `kind:
    detail`."""


@dataclass(frozen=True)
class FileSlice:
    """`size` bytes of a file from `offset` on: a member of an uncompressed tar can be read so,
    without the tar."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """The bytes.

        Raises:
            BadMember: more than LARGEST, or the file ends before.
        """
        check_size(self.size)
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) < self.size:
            raise BadMember("cut short")
        return data


@dataclass(frozen=True)
class LoadedMember:
    """The bytes of a member of a compressed archive, which can only be read from its start."""

    data: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    def read(self) -> bytes:
        """The bytes."""
        return self.data


@dataclass(frozen=True)
class UnusableMember:
    """A member that is not read, and why."""

    reason: str
    size: int = 0

    def read(self) -> bytes:
        """Raises BadMember."""
        raise BadMember(self.reason)


Member = FileSlice | LoadedMember | UnusableMember


class Tree:
    """A folder of files, or a zip of one, by their paths below `prefix` in the zip.

    Raises:
        zipfile.BadZipFile: the zip is damaged.
    """

    def __init__(self, root: Path, prefix: str = ""):
        self.root, self._prefix = root, prefix
        self._archive = None if root.is_dir() else open_zip(root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._archive is not None:
            self._archive.close()

    def names(self) -> list[str]:
        """Paths of all files of the data set, sorted."""
        if self._archive is None:
            return names.files_below(self.root)
        paths = []
        for member in self._archive.infolist():
            if not member.is_dir() and member.filename.startswith(self._prefix):
                paths.append(member.filename.removeprefix(self._prefix))
        return sorted(filter(names.is_data, paths))

    def size(self, name: str) -> int:
        """Bytes of a file, 0 if there is none."""
        try:
            if self._archive is None:
                return self._path(name).stat().st_size
            return self._archive.getinfo(self._prefix + name).file_size
        except (OSError, KeyError, BadMember):
            return 0

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            BadMember: it is missing, damaged or larger than LARGEST.
        """
        if self._archive is None:
            return whole_file(self._path(name)).read()
        size = self.size(name)
        check_size(size)
        try:
            with _as_bad_zip(self.root.name):
                data = self._archive.read(self._prefix + name)
        except KeyError:
            raise BadMember("missing image") from None
        except zipfile.BadZipFile:
            raise BadMember("damaged member of the zip") from None
        if len(data) != size:
            raise BadMember("damaged member of the zip")
        return data

    def _path(self, name: str) -> Path:
        """The file of a name that some list gives, which must not lead out of the folder."""
        path = PurePosixPath(name)
        try:
            if path.is_absolute() or ".." in path.parts or not (self.root / path).is_file():
                raise BadMember("missing image")
        except (OSError, ValueError):  # a name that no file can have
            raise BadMember("missing image") from None
        return self.root / path


def open_zip(path: Path) -> zipfile.ZipFile:
    """A zip to read.

    Raises:
        zipfile.BadZipFile: it is damaged.
    """
    with _as_bad_zip(path.name):
        return zipfile.ZipFile(path)


@contextmanager
def open_member(path: Path, name: str) -> Iterator[IO[bytes]]:
    """The member `name` of a zip, in whatever folder of it.

    Raises:
        FileNotFoundError: there is none.
        zipfile.BadZipFile: the zip is damaged, which may be found while the member is read.
    """
    with open_zip(path) as archive:
        members = [each for each in archive.namelist() if each.rpartition("/")[2] == name]
        members = list(filter(names.is_data, members))
        if not members:
            raise FileNotFoundError(f"no {name} in {path}")
        with _as_bad_zip(f"{path.name}: {name}"):
            stream = archive.open(members[0])
        # Whoever reads it has other reasons for a ValueError.
        with stream, _as_bad_zip(f"{path.name}: {name}", _CONTENT_ERRORS):
            yield stream


@contextmanager
def _as_bad_zip(name: str, errors: tuple[type[Exception], ...] = _ZIP_ERRORS) -> Iterator[None]:
    """Turns what zipfile raises for a damaged zip into BadZipFile."""
    try:
        yield
    except errors as error:
        raise zipfile.BadZipFile(f"{name}: {error}") from None
    except OSError as error:  # bz2's have no number, a wrong offset is an invalid argument
        if error.errno not in (None, errno.EINVAL):
            raise
        raise zipfile.BadZipFile(f"{name}: {error}") from None


def check_size(size: int) -> None:
    """Raises BadMember for more bytes than an image has."""
    if size > LARGEST:
        raise BadMember(f"too large a file: {size} bytes")


def whole_file(path: Path) -> FileSlice:
    """All bytes of a file."""
    return FileSlice(path, 0, path.stat().st_size)
