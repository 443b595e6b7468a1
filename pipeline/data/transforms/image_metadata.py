"""Parts of image files, found without decoding: scans of a JPEG, metadata that can be left out, the
sizes of icons."""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

PNG = b"\x89PNG\r\n\x1a\n"  # how such a file begins
_JPEG, _ICO = b"\xff\xd8", b"\x00\x00\x01\x00"
_OLD_BITMAP = b"\x0c\x00\x00\x00"  # the length of a header with shorter numbers
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # zero and restarts stand in compressed data
_SCAN, _END = 0xDA, 0xD9
# APP1 to APP13, APP15 and comments; APP0 and APP14 tell how colors are stored
_JPEG_METADATA = frozenset((*range(0xE1, 0xEE), 0xEF, 0xFE))
# Texts, color profile, animation. Not the EXIF block: an orientation stands in it.
_PNG_METADATA = frozenset((b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"acTL", b"fcTL", b"fdAT"))


class Part(NamedTuple):
    """A segment of a JPEG (kind: its marker) or a chunk of a PNG (kind: its name)."""

    kind: int | bytes
    start: int  # slice of the file
    end: int


def num_scans(data: bytes) -> int:
    """How many scans the JPEG at the beginning of `data` has; 0 of other files."""
    return sum(part.kind == _SCAN for part in _segments(data))


def without(data: bytes) -> bytes:
    """A JPEG or PNG file without metadata, its compressed pixels byte by byte; others as they
    are."""
    kept, position = [], 0
    for part in (*_segments(data), *_chunks(data)):
        if part.kind in _JPEG_METADATA or part.kind in _PNG_METADATA:
            kept.append(data[position : part.start])
            position = part.end
    return b"".join((*kept, data[position:]))


def icon_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Width and height of each image in an ICO file, by the image's own header: its directory,
    which has one byte for a side, may say less. Nothing of other files."""
    if not data.startswith(_ICO):
        return
    for entry in range(6, 6 + 16 * int.from_bytes(data[4:6], "little"), 16):
        start = int.from_bytes(data[entry + 12 : entry + 16], "little")
        header = data[start : start + 24].ljust(24, b"\0")
        if header.startswith(PNG):
            yield struct.unpack_from(">II", header, 16)
        elif header.startswith(_OLD_BITMAP):
            yield struct.unpack_from("<HH", header, 4)
        else:
            width, height = struct.unpack_from("<ii", header, 4)
            yield abs(width), abs(height)


def _segments(data: bytes) -> Iterator[Part]:
    position = len(_JPEG) if data.startswith(_JPEG) else len(data)
    while match := _MARKER.search(data, position):
        marker = match[0][-1]
        if marker == _END:  # what follows is another image, or none
            return
        position = match.end() + int.from_bytes(data[match.end() : match.end() + 2])
        yield Part(marker, match.start(), position)


def _chunks(data: bytes) -> Iterator[Part]:
    position = len(PNG) if data.startswith(PNG) else len(data)
    while position < len(data):
        start, name = position, data[position + 4 : position + 8]
        position += 12 + int.from_bytes(data[start : start + 4])
        yield Part(name, start, position)
