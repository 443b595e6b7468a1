"""Archives whose bytes depend on their contents alone: dates, owners and order are fixed."""

import bz2
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.utils import files

# name in the archive and contents, in the order in which they are written
Members = Iterable[tuple[str, bytes]]
_ZIP_DATE = (2014, 9, 1, 0, 0, 0)


def write_zip(path: Path, members: Members) -> None:
    """Write a zip file; JPEG files are stored, everything else is deflated."""
    with files.replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name, _ZIP_DATE)
            info.compress_type = (
                zipfile.ZIP_STORED if name.endswith(".jpg") else zipfile.ZIP_DEFLATED
            )
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)


def write_tar(path: Path, members: Members) -> None:
    """Write an uncompressed tar file."""
    with (
        files.replacing(path) as temporary,
        tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        _add(archive, members)


def write_tar_gz(path: Path, members: Members) -> None:
    """Write a gzipped tar file, without file name or time in the gzip header."""
    with (
        files.replacing(path) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        _add(archive, members)


def tar_bytes(members: Members) -> bytes:
    """An uncompressed tar file in memory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        _add(archive, members)
    return buffer.getvalue()


def write_bz2_streams(path: Path, parts: Iterable[str]) -> None:
    """Write UTF-8 text as successive bz2 streams, one per part."""
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        file.writelines(bz2.compress(part.encode()) for part in parts)


def json_bytes(value: Any) -> bytes:
    """Compact UTF-8 JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": ")).encode()


def _add(archive: tarfile.TarFile, members: Members) -> None:
    for name, data in members:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(data), 0o644, 0
        archive.addfile(info, io.BytesIO(data))
