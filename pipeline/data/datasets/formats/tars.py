"""Tars: read in place or as a stream, with limits on what their headers claim."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

from pipeline.data.datasets.formats import archives, names
from pipeline.data.datasets.formats.archives import FileSlice, LoadedMember, UnusableMember

_CHUNK = 1 << 20  # bytes
# bytes of a name or of extended attributes (choice: a path has 4 kB at most); tarfile takes
# quadratic time in them
_LARGEST_HEADER = 16 << 10
# bytes of a member of a stream, which is read even to skip it (choice: synsets have a thirtieth)
_LARGEST_STREAMED = 16 << 30
IRREGULAR = UnusableMember("not a regular file")
# What tarfile raises for damaged headers, beside its own errors.
_DAMAGED = (ValueError, LookupError, ArithmeticError, TypeError, AttributeError, RecursionError)
_HEADER_ERRORS = (
    tarfile.InvalidHeaderError,  # type: ignore[attr-defined]  # typeshed lacks them
    tarfile.TruncatedHeaderError,  # type: ignore[attr-defined]
    tarfile.SubsequentHeaderError,  # type: ignore[attr-defined]
)
_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


def is_compressed(tar: Path) -> bool:
    """Whether a tar is compressed, by its name."""
    return tar.suffix != ".tar"


def in_tar(tar: FileSlice) -> Iterator[tuple[str, FileSlice | UnusableMember]]:
    """Name and slice of each file of the data set in an uncompressed tar, which may itself lie in
    another. Links, pipes and devices are unusable.

    Raises:
        tarfile.TarError: it is damaged.
    """
    end = tar.offset + tar.size
    with open(tar.path, "rb") as file:
        file.seek(tar.offset)
        with tarfile.open(fileobj=file, mode="r:", tarinfo=_Header) as archive:
            for member in _members(archive):
                if member.offset_data + member.size > end:
                    raise tarfile.ReadError("cut short")
                if member.isreg():
                    yield member.name, FileSlice(tar.path, member.offset_data, member.size)
                else:
                    yield member.name, IRREGULAR


def in_stream(tar: Path | IO[bytes]) -> Iterator[tuple[str, IO[bytes] | None, int]]:
    """Name, content and size in bytes of each file of the data set in a tar, compressed or not,
    that is read from its start to its end. Links, pipes and devices have no content.

    Raises:
        tarfile.TarError: it is damaged.
    """
    with _open_stream(tar) as archive:
        for member in _members(archive):
            if member.size > _LARGEST_STREAMED:
                raise tarfile.ReadError(f"a member of {member.size} bytes")
            content = archive.extractfile(member) if member.isreg() else None
            yield member.name, content, member.size


def load_member(stream: IO[bytes] | None, size: int) -> LoadedMember | UnusableMember:
    """The bytes of a member of a stream, or why it is not read: it is no regular file, or too
    large."""
    if stream is None:
        return IRREGULAR
    try:
        archives.check_size(size)
    except archives.BadMember as error:
        return UnusableMember(str(error), size)
    return LoadedMember(stream.read())


def _open_stream(tar: Path | IO[bytes]) -> tarfile.TarFile:
    if isinstance(tar, Path):
        return tarfile.open(tar, mode="r|*", bufsize=_CHUNK, tarinfo=_Header)
    return tarfile.open(fileobj=tar, mode="r|", bufsize=_CHUNK, tarinfo=_Header)


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """What is no folder and may be a file of the data set; one at a time is in memory."""
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # typeshed lacks it
        if not member.isdir() and names.is_data(member.name):
            yield member


class _Header(tarfile.TarInfo):
    """A header that claims nothing absurd. `tarfile` takes a damaged one behind the first for the
    end of the archive, and reads names and sparse maps of any length."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _EXTENSIONS and header.size > _LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            member = super().fromtarfile(archive)
        except (*_HEADER_ERRORS, *_DAMAGED) as error:
            raise tarfile.ReadError(f"damaged header: {error}") from None
        if member.size < 0:
            raise tarfile.ReadError(f"a member of {member.size} bytes")
        return member

    def _refuse(self, *_: Any) -> Self:
        raise tarfile.ReadError("a sparse member")

    # of the four forms of sparse members
    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse
