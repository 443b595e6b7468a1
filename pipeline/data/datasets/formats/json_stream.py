"""Finding and streaming official files: nothing is unpacked, and nothing large is held in
memory."""

import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Protocol

# characters of an item of a JSON array (choice: the largest real ones have a tenth of a megabyte)
LARGEST = 64 << 20
_CHUNK = 1 << 20  # characters
_SEPARATOR = re.compile(r"[\s,]*")


class TextReader(Protocol):
    """A text stream: `codecs.StreamReader` and `TextIO` have no other base in common."""

    def read(self, size: int, /) -> str:
        """Up to `size` characters, none at the end."""


def pick(root: Path, *names: str) -> Path:
    """The first of `names` that exists under `root`.

    Raises:
        FileNotFoundError: none of them exists.
    """
    for name in names:
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"no {' or '.join(names)} in {root}")


@contextmanager
def open_text(path: Path, name: str) -> Iterator[TextReader]:
    """A UTF-8 text file: the member `name` of a zip (in whatever folder of it), or `path` itself.

    Raises:
        FileNotFoundError: the zip has no such member.
    """
    if path.suffix != ".zip":
        with open(path, encoding="utf-8", errors="replace") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.rpartition("/")[2] == name:
                break
        else:
            raise FileNotFoundError(f"no {name} in {path}")
        with archive.open(member) as stream:
            yield TextIOWrapper(stream, encoding="utf-8", errors="replace")


def json_items(stream: TextReader, opening: str) -> Iterator[Any]:
    """The items of a JSON array, one by one; `opening` is a pattern that ends with the array's
    bracket.

    Items are objects, arrays or strings: a number could be cut in two unseen.

    Raises:
        ValueError: the pattern is not found, the array is cut short or damaged, or an item is
        larger than LARGEST.
    """
    decoder = json.JSONDecoder()
    buffer, position = _find(stream, re.compile(opening))
    while True:
        separator = _SEPARATOR.match(buffer, position)
        assert separator is not None  # it may be empty
        position = separator.end()
        if buffer[position : position + 1] == "]":
            return
        try:
            item, position = decoder.raw_decode(buffer, position)
        except json.JSONDecodeError as error:
            if len(buffer) - position > LARGEST or not (more := stream.read(_CHUNK)):
                raise ValueError(f"damaged or cut short: {error.msg}") from None
            buffer, position = buffer[position:] + more, 0
            continue
        yield item


def _find(stream: TextReader, opening: re.Pattern[str]) -> tuple[str, int]:
    """Reads on to a pattern of less than 100 characters: the buffer that holds it, and the index
    behind it."""
    buffer = stream.read(_CHUNK)
    while not (start := opening.search(buffer)):
        if not (more := stream.read(_CHUNK)):
            raise ValueError(f"expected {opening.pattern}")
        buffer = buffer[-100:] + more
    return buffer, start.end()
