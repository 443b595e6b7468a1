"""Files in archives and folders: read in place, never unpacked.

Archives come from elsewhere. No name in one becomes the name of a file, links and devices are
skipped, and sizes are limited before anything is expanded.
"""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Self

# bytes of an image or mask (choice: the largest real ones have a quarter of it)
LARGEST = 64 << 20
_CHUNK = 1 << 20  # bytes
# The last two: compression methods that are not known here, encryption.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
_HEADER_ERRORS = (
    tarfile.InvalidHeaderError,  # type: ignore[attr-defined]  # typeshed lacks both
    tarfile.TruncatedHeaderError,  # type: ignore[attr-defined]
)


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


class Tree:
    """A folder of files, or a zip of one, by their paths below `prefix` in the zip."""

    def __init__(self, root: Path, prefix: str = ""):
        self.root, self._prefix = root, prefix
        self._archive = None if root.is_dir() else zipfile.ZipFile(root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._archive is not None:
            self._archive.close()

    def names(self) -> list[str]:
        """Paths of all files, sorted."""
        if self._archive is None:
            paths = filter(Path.is_file, self.root.rglob("*"))
            return sorted(path.relative_to(self.root).as_posix() for path in paths)
        names = []
        for member in self._archive.infolist():
            if not member.is_dir() and member.filename.startswith(self._prefix):
                names.append(member.filename.removeprefix(self._prefix))
        return sorted(names)

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
        check_size(self.size(name))
        try:
            if self._archive is None:
                return self._path(name).read_bytes()
            return self._archive.read(self._prefix + name)
        except (KeyError, FileNotFoundError, IsADirectoryError):
            raise BadMember("missing image") from None
        except _DAMAGED:
            raise BadMember("damaged member of the zip") from None

    def _path(self, name: str) -> Path:
        """The path of a name that some list gives, which must not lead out of the folder."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise BadMember("missing image")
        return self.root / path


def check_size(size: int) -> None:
    """Raises BadMember for more bytes than an image has."""
    if size > LARGEST:
        raise BadMember(f"too large a file: {size} bytes")


def is_compressed(tar: Path) -> bool:
    """Whether a tar is compressed, by its name."""
    return tar.suffix != ".tar"


def whole_file(path: Path) -> FileSlice:
    """All bytes of a file."""
    return FileSlice(path, 0, path.stat().st_size)


def in_tar(tar: FileSlice) -> Iterator[tuple[str, FileSlice]]:
    """Name and slice of each regular file in an uncompressed tar, which may itself lie in another.

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
                    yield member.name, FileSlice(tar.path, member.offset_data, member.size)


def in_stream(tar: Path | IO[bytes]) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """The regular files in a tar, compressed or not, that is read from its start to its end.

    Raises:
        tarfile.TarError: it is damaged.
    """
    with _open_stream(tar) as archive:
        for member in archive:
            if member.isreg() and not member.issparse():
                content = archive.extractfile(member)
                assert content is not None  # of a regular file
                yield member, content


def _open_stream(tar: Path | IO[bytes]) -> tarfile.TarFile:
    if isinstance(tar, Path):
        return tarfile.open(tar, mode="r|*", bufsize=_CHUNK, tarinfo=_Header)
    return tarfile.open(fileobj=tar, mode="r|", bufsize=_CHUNK, tarinfo=_Header)


def load_member(member: tarfile.TarInfo, stream: IO[bytes]) -> LoadedMember | FileSlice:
    """The bytes of a member of a stream; for one that is too large a slice that raises BadMember
    when it is read."""
    if member.size <= LARGEST:
        return LoadedMember(stream.read())
    return FileSlice(Path(os.devnull), 0, member.size)


class _Header(tarfile.TarInfo):
    """`tarfile` takes a damaged header behind the first for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except _HEADER_ERRORS as error:
            raise tarfile.ReadError(f"damaged header: {error}") from None
