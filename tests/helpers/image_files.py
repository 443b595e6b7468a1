"""Bytes of image files, well-formed and odd ones."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def scene() -> Image.Image:
    """Smooth, so that JPEG keeps it, with four different corners, and wider than high."""
    across, down = np.meshgrid(np.linspace(0, 255, 48), np.linspace(0, 255, 32))
    return Image.fromarray(np.stack([across, down, 255 - across], -1).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    image.save(buffer := io.BytesIO(), kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, depth: int, color: int, rows: bytes, metadata: bytes = b""
) -> bytes:
    """A PNG of rows with their filter bytes, after chunks of metadata."""
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + metadata
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def progressive(width: int, height: int, scans: int) -> bytes:
    """A JPEG whose last scan, which refines the one before, is there many times."""
    data = encoded(Image.new("RGB", (width, height), "teal"), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (scans - data.count(b"\xff\xda")) + data[-2:]
