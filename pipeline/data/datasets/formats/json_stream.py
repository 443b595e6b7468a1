"""Finding and streaming official files: nothing is unpacked, and nothing large is held in
memory."""

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import IO, Any, Protocol, cast

from pipeline.data.datasets.formats import archives

# characters of an item of a JSON array (choice: the largest real ones have a tenth of a megabyte)
LARGEST = 64 << 20
_CHUNK = 1 << 20  # characters
_SEPARATOR = re.compile(r"[\s,]*")
_STRUCTURE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{}]', re.DOTALL)
_DECODER = json.JSONDecoder()
_LONGEST_INTEGER = 20  # digits, in an item with a number that Python takes for an attack
_DEEPEST = 1_000_000  # brackets within brackets, of an item that is skipped (choice)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class TextReader(Protocol):
    """A text stream: `codecs.StreamReader` and `TextIO` have no other base in common."""

    def read(self, size: int, /) -> str:
        """Up to `size` characters, none at the end."""


def pick(root: Path, *names: str) -> Path:
    """The first of `names` that is a file or folder under `root`.

    Raises:
        FileNotFoundError: none of them is.
    """
    for name in names:
        path = root / name
        if path.is_file() or path.is_dir():  # a pipe would be waited for
            return path
    raise FileNotFoundError(f"no {' or '.join(names)} in {root}")


@contextmanager
def open_text(path: Path, name: str = "") -> Iterator[TextIOWrapper]:
    """A UTF-8 text file: the member `name` of a zip (in whatever folder of it), or `path` itself.
    One that starts with the mark of UTF-16 is read so.

    Raises:
        FileNotFoundError: the zip has no such member.
        zipfile.BadZipFile: the zip is damaged.
    """
    if path.suffix != ".zip":
        with open(path, "rb") as file:
            yield _as_text(file, file.peek(2))
        return
    with archives.open_member(path, name) as stream:
        yield _as_text(stream, cast(BufferedReader, stream).peek(2))


def json_items(stream: TextReader, name: str | None = None) -> Iterator[Any]:
    """The items of a JSON array, one by one: of the array `name` of an object, or of one that is
    all there is. An item that is nested too deeply for Python is None.

    Raises:
        ValueError: there is no such array, it is cut short or damaged, or an item is larger than
        LARGEST.
    """
    window = _Window(stream)
    if name is None:
        window.find(re.compile(r"\A\s*\["), "a list")
    else:
        window.find(re.compile(rf'(?<!\\)"{name}"\s*:\s*\['), f'"{name}": [')
    while window.following() != "]":
        yield window.item()


class _Window:
    """The part of a text that is in memory."""

    def __init__(self, stream: TextReader) -> None:
        self._stream, self._text, self._position = stream, stream.read(_CHUNK), 0

    def find(self, pattern: re.Pattern[str], wanted: str) -> None:
        """Go behind the first match, which has less than 100 characters. Raises ValueError: there
        is none."""
        while not (match := pattern.search(self._text)):
            self._position = max(len(self._text) - 100, 0)
            if pattern.pattern.startswith(r"\A") or not self._read():
                raise ValueError(f"expected {wanted}")
        self._position = match.end()

    def following(self) -> str:
        """The next character that separates nothing; empty at the end."""
        while True:
            separator = _SEPARATOR.match(self._text, self._position)
            assert separator is not None  # it may be empty
            self._position = separator.end()
            if self._position < len(self._text) or not self._read():
                return self._text[self._position : self._position + 1]

    def item(self) -> Any:
        """The value here. Raises ValueError."""
        while True:
            try:
                value, end = _decode(self._text, self._position)
                # A number may go on behind the window.
                if isinstance(value, (int, float)) and end == len(self._text) and self._read():
                    continue
            except json.JSONDecodeError as error:
                if len(self._text) - self._position > LARGEST or not self._read():
                    raise ValueError(f"damaged or cut short: {error.msg}") from None
                continue
            self._position = end
            return value

    def _read(self) -> bool:
        """Forget what is behind, and hold twice as much, so that a long item is not decoded again
        and again. False: that was all."""
        held = self._text[self._position :]
        more = self._stream.read(max(_CHUNK, len(held)))
        self._text, self._position = held + more, 0
        return bool(more)


def _as_text(stream: IO[bytes], start: bytes) -> TextIOWrapper:
    encoding = "utf-16" if start[:2] in _UTF16 else "utf-8-sig"
    return TextIOWrapper(stream, encoding=encoding, errors="replace", newline="\n")


def _decode(text: str, position: int) -> tuple[Any, int]:
    """The value at an index, and the index behind it. Raises as `_end`."""
    try:
        return _DECODER.raw_decode(text, position)
    except RecursionError:
        return None, _end(text, position)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.JSONDecoder(parse_int=_integer).raw_decode(text, position)


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _LONGEST_INTEGER else None


def _end(text: str, position: int) -> int:
    """The index behind an object or array. Raises json.JSONDecodeError: it goes on behind the
    text; ValueError: it is nested absurdly deeply."""
    depth = 0
    for match in _STRUCTURE.finditer(text, position):
        if match[0] == '"':  # a string that is cut short
            break
        if len(match[0]) == 1:
            depth += 1 if match[0] in "[{" else -1
            if depth > _DEEPEST:
                raise ValueError(f"more than {_DEEPEST} brackets within brackets")
        if depth == 0:
            return match.end()
    raise json.JSONDecodeError("Unterminated value", text, position)
