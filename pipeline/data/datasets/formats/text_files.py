"""Text files of people's own: their encoding, and the text in it.

The encoding follows from the bytes by rule: a byte-order mark; zeros where UTF-16 and UTF-32 have
them in English; UTF-8, unless more of its longer sequences are broken than whole; or else the
8-bit encoding that gives the most characters of English prose. So the same bytes always give the
same text, and what no rule explains is refused instead of guessed.
"""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import UserError

LARGEST = 64 << 20  # bytes of a text that is read whole, characters of a line (choice)
_HEAD = 1 << 20  # bytes by which the encoding of a longer file is decided (choice)
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, with which it starts
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Bytes of each character that are zero, of four.
_ZEROS = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}
_8_BIT = ("cp1252", "mac_roman", "cp850")  # Windows (with Latin-1), the old Macintosh, DOS
_ENGLISH = re.compile("[‘’“”–—…£°½à-öø-ÿœ]")  # beyond ASCII; words rarely start with such letters
_SAMPLE = 1 << 12  # bytes in which zeros are sought
_BLOCK = 1 << 20  # characters
_BROKEN = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of a byte that is no UTF-8
_BEYOND_ASCII = re.compile("[^\x00-\x7f]")
_MOST_BEYOND_ASCII = 0.2  # of the characters in an 8-bit encoding (choice: French has 0.05)
_CONTROLS = bytes([*range(9), *range(14, 26), *range(27, 32), 127])
_MOST_CONTROLS = 0.01  # of the characters of a text (choice)
_PADDING = "\x00\x1a"  # at the end of a file: what a full disk leaves, DOS's mark of the end
_LINE_END = re.compile("\r+\n|[\r\x85\u2028]")


class NotText(Exception):
    """Bytes are no text. The message is the reason: `kind` or `kind: detail`."""


def decode(raw: bytes) -> str:
    """The text of a whole file, with `\\n` at the ends of lines; U+FFFD for what is damaged in it.

    Raises:
        NotText: it is none, or in an encoding that is not known here.
    """
    text = raw.decode(_encoding(raw), "replace").rstrip(_PADDING)
    _refuse_controls(text)
    text = text.replace("\r\n", "\n")
    if any(end in text for end in "\r\x85\u2028\u2029"):
        text = _LINE_END.sub("\n", text).replace("\u2029", "\n\n")
    return text


def lines(path: Path) -> Iterator[str]:
    """The lines of a file, without their ends. One of more than LARGEST characters is cut into
    several.

    Lines end with `\\n`, or with `\\r` where the file has no `\\n`; U+FFFD stands for what is
    damaged in them.

    Raises:
        UserError: it is no text, or in an encoding that is not known here.
    """
    with open(path, "rb") as binary:
        head = binary.read(_HEAD)
    if len(head) == _HEAD:  # not within a character
        head = head[: head.rfind(b"\n") + 1] or head
    try:
        encoding = _encoding(head)
        _refuse_controls(head.decode(encoding, "replace"))
    except NotText as error:
        raise UserError(f"{path}: {error}") from None
    end = "\r" if b"\r" in head and b"\n" not in head else "\n"
    with open(path, encoding=encoding, errors="replace", newline=end) as file:
        rest = ""
        while block := file.read(_BLOCK):
            *whole, rest = (rest + block).split(end)
            yield from whole
            while len(rest) > LARGEST:
                yield rest[:LARGEST]
                rest = rest[LARGEST:]
        if rest:
            yield rest


def _refuse_controls(text: str) -> None:
    raw = text.rstrip(_PADDING).encode("ascii", "ignore")
    controls = len(raw) - len(raw.translate(None, _CONTROLS))
    if controls > _MOST_CONTROLS * len(text):
        raise NotText(f"not a text: {controls} control characters of {len(text)}")


def _encoding(raw: bytes) -> str:
    """Raises NotText."""
    for mark, name in _MARKS.items():
        if raw.startswith(mark):
            return name
    if wide := _wide(raw[:_SAMPLE]):
        return wide
    try:
        raw.decode()
    except UnicodeDecodeError:
        return _of_damaged(raw)
    return "utf-8"


def _wide(raw: bytes) -> str | None:
    """The encoding of two or four bytes a character in which English has zeros where `raw` has."""
    quarter = len(raw) // 4
    shares = [raw[index : 4 * quarter : 4].count(0) / max(1, quarter) for index in range(4)]
    return _ZEROS.get((shares[0] > 0.5, shares[1] > 0.5, shares[2] > 0.5, shares[3] > 0.5))


def _of_damaged(raw: bytes) -> str:
    """The encoding of what is not wholly UTF-8. Raises NotText."""
    text = raw.decode("utf-8", "surrogateescape")
    if 2 * len(_BROKEN.findall(text)) <= len(_BEYOND_ASCII.findall(text)):
        return "utf-8"
    beyond = len(raw) - len(raw.translate(None, bytes(range(128, 256))))
    if beyond > _MOST_BEYOND_ASCII * len(raw):
        raise NotText("unknown encoding: neither UTF-8 nor English in Windows-1252")
    return max(_8_BIT, key=lambda name: len(_ENGLISH.findall(raw.decode(name, "replace"))))
