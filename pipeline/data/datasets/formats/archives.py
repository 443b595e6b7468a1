"""Files in archives and folders: read where they are, never unpacked.

Archives come from elsewhere. No name in one becomes the name of a file, links and devices are
passed over, and sizes are limited before anything is expanded.
"""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

LARGEST = (
    64 << 20
)  # bytes of a picture or mask (choice: the largest real ones have a quarter of it)
_CHUNK = 1 << 20  # bytes
# The last two: methods of compression that are not known here, encryption.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class BadMember(Exception):
    """A file in an archive or folder cannot be used. The message is the reason: `kind` or `kind:
    detail`."""


@dataclass(frozen=True)
class Place:
    """`size` bytes of a file from `offset` on: what lies uncompressed in a tar can be read without
    the tar."""

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
class Held:
    """Bytes out of a compressed archive, which can only be read from its start."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self) -> bytes:
        return self.data


class Tree:
    """A folder of files, or a zip of one, by their paths below `prefix` in the zip."""

    def __init__(self, place: Path, prefix: str = ""):
        self.place, self._prefix = place, prefix
        self._archive = None if place.is_dir() else zipfile.ZipFile(place)

    def __enter__(self) -> "Tree":
        return self

    def __exit__(self, *error: object) -> None:
        if self._archive is not None:
            self._archive.close()

    def names(self) -> list[str]:
        """Paths of all files, sorted."""
        if self._archive is None:
            return sorted(
                path.relative_to(self.place).as_posix()
                for path in self.place.rglob("*")
                if path.is_file()
            )
        members = (member.filename for member in self._archive.infolist() if not member.is_dir())
        return sorted(
            name.removeprefix(self._prefix) for name in members if name.startswith(self._prefix)
        )

    def size(self, name: str) -> int:
        """Bytes of a file, 0 if there is none."""
        try:
            if self._archive is None:
                return self._inside(name).stat().st_size
            return self._archive.getinfo(self._prefix + name).file_size
        except (OSError, KeyError, BadMember):
            return 0

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            BadMember: it is missing, damaged or larger than LARGEST.
        """
        check_size(self.size(name))
        try:
            return (
                self._inside(name).read_bytes()
                if self._archive is None
                else self._archive.read(self._prefix + name)
            )
        except (KeyError, FileNotFoundError, IsADirectoryError):
            raise BadMember("missing image") from None
        except _DAMAGED:
            raise BadMember("damaged member of the zip") from None

    def _inside(self, name: str) -> Path:
        """The path of a name that some list gives, which must not lead out of the folder."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise BadMember("missing image")
        return self.place / path


def check_size(size: int) -> None:
    """Raises BadMember for more bytes than a picture has."""
    if size > LARGEST:
        raise BadMember(f"too large a file: {size} bytes")


def is_compressed(tar: Path) -> bool:
    """Whether a tar is compressed, which its name tells."""
    return tar.suffix != ".tar"


def whole(path: Path) -> Place:
    """All bytes of a file."""
    return Place(path, 0, path.stat().st_size)


def in_tar(tar: Place) -> Iterator[tuple[str, Place]]:
    """Names and places of the regular files in a tar that is not compressed, which may itself lie
    in another.

    Raises:
        tarfile.TarError: it is damaged.
    """
    end = tar.offset + tar.size
    with open(tar.path, "rb") as file:
        file.seek(tar.offset)
        with tarfile.open(fileobj=file, mode="r:", tarinfo=_Header) as archive:
            for member in archive:
                if member.offset_data + member.size > end:
                    raise tarfile.ReadError("cut short")
                if member.isreg() and not member.issparse():
                    yield member.name, Place(tar.path, member.offset_data, member.size)


def in_stream(tar: Path | IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """The regular files in a tar, compressed or not, that is read from its start to its end.

    Raises:
        tarfile.TarError: it is damaged.
    """
    source = (
        {"name": tar, "mode": "r|*"} if isinstance(tar, Path) else {"fileobj": tar, "mode": "r|"}
    )
    with tarfile.open(**source, bufsize=_CHUNK, tarinfo=_Header) as archive:
        for member in archive:
            if member.isreg() and not member.issparse():
                yield member, archive.extractfile(member)


def held(member: tarfile.TarInfo, stream: IO[bytes]) -> Held | Place:
    """The bytes of a member of a stream; one that is too large stays where it is, and says so when
    it is read."""
    return (
        Held(stream.read()) if member.size <= LARGEST else Place(Path(os.devnull), 0, member.size)
    )


class _Header(tarfile.TarInfo):
    """`tarfile` takes a damaged header behind the first for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:
            raise tarfile.ReadError(f"damaged header: {error}") from None
