"""Which formats of image files are read, and what the others are called.

Pillow knows more formats. Nobody needs them, and some of its plug-ins start programs (EPS).
"""

import re

from PIL import features

READ = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "AVIF", "ICO")
STORED = ("JPEG", "PNG")  # in shards
_HEAD = 4096  # bytes of a file that tell its format

_PATTERNS = (
    ("WEBP", rb"RIFF....WEBP"),
    ("AVIF", rb"....ftyp.{0,60}?avi[fs]"),
    ("HEIC", rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)"),
    ("camera raw", rb"....ftypcrx |FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\x00|FOVb"),
    ("video", rb"....ftyp|\x1aE\xdf\xa3"),
    ("PBM", rb"P[14]\s(?:\s|#[^\n]*\n)*\d"),
    ("PGM", rb"P[25]\s(?:\s|#[^\n]*\n)*\d"),
    ("PPM", rb"P[36]\s(?:\s|#[^\n]*\n)*\d"),
    ("PAM", rb"P7\s(?:\s|#[^\n]*\n)*[A-Z]"),
    ("PFM", rb"P[Ff]\s\d"),
    ("EPS", rb"%!PS|\xc5\xd0\xd3\xc6"),
    ("PDF", rb"%PDF-"),
    ("SVG", rb"(?:\xef\xbb\xbf)?\s*(?:<[?!][^<]*>\s*)*<(?:\w+:)?svg\b"),
    ("PSD", rb"8BPS"),
    ("JPEG XL", rb"\xff\x0a|\x00\x00\x00\x0cJXL "),
    ("JPEG XR", rb"II\xbc"),
    ("CUR", rb"\x00\x00\x02\x00.\x00"),
    ("ICNS", rb"icns"),
    ("DDS", rb"DDS "),
    ("OpenEXR", rb"v/1\x01"),
    ("Radiance HDR", rb"#\?R(?:ADIANCE|GBE)"),
    ("MNG", rb"\x8a[MJ]NG"),
    ("XCF", rb"gimp xcf"),
    ("DjVu", rb"AT&TFORM"),
    ("QOI", rb"qoif"),
    ("SGI", rb"\x01\xda[\x00\x01][\x01\x02]"),
    ("PCX", rb"\x0a[\x00-\x05]\x01[\x01\x02\x04\x08]"),
    ("WMF", rb"\xd7\xcd\xc6\x9a"),
    ("NumPy", rb"\x93NUMPY"),
    ("FITS", rb"SIMPLE  ="),
    ("DICOM", rb".{128}DICM"),
)
_NAMES = [(name, re.compile(pattern, re.DOTALL)) for name, pattern in _PATTERNS]


def why_not(data: bytes) -> str:
    """Why Pillow could not identify a file, by its first bytes: nothing is decoded."""
    name = _name(data)
    if name in READ:  # builds of Pillow differ
        return "damaged image" if features.check(name.lower()) else f"no decoder: {name}"
    return not_read(name) if name else "not an image"


def not_read(name: str | None) -> str:
    """The reason why files of a format are not used."""
    return f"format not read: {name}; convert it to JPEG or PNG"


def _name(data: bytes) -> str | None:
    """What a file is that Pillow did not identify; None where nobody knows."""
    head = data[:_HEAD]
    return next((name for name, pattern in _NAMES if pattern.match(head)), None)
