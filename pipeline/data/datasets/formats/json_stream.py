"""Finding and streaming official files: nothing is unpacked, and nothing large is held in
memory."""

import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

LARGEST = (
    64 << 20
)  # characters of one item of a JSON array (choice: the largest real ones have a tenth of a megabyte)
_CHUNK = 1 << 20  # characters
_SEPARATOR = re.compile(r"[\s,]*")


def pick(root: Path, *names: str) -> Path:
    """The first of `names` that exists under `root`.

    Raises:
        FileNotFoundError: there is none of them.
    """
    for name in names:
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"no {' or '.join(names)} in {root}")


@contextmanager
def open_text(path: Path, name: str) -> Iterator[TextIO]:
    """A UTF-8 text file: the member `name` of a zip (in whatever folder of it), or `path`
    itself."""
    if path.suffix != ".zip":
        with open(path, encoding="utf-8", errors="replace") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.namelist() if member.rpartition("/")[2] == name]
        if not members:
            raise FileNotFoundError(f"no {name} in {path}")
        with archive.open(members[0]) as file:
            yield TextIOWrapper(file, encoding="utf-8", errors="replace")


def json_items(stream: TextIO, opening: str) -> Iterator[Any]:
    """The items of a JSON array, one by one; `opening` is a pattern that ends with the array's
    bracket.

    Items are objects, arrays or strings: a number could be cut in two unseen.

    Raises:
        ValueError: the pattern is not found, the array is cut short or damaged, or an item is
        larger than LARGEST.
    """
    decoder = json.JSONDecoder()
    buffer, position = _found(stream, re.compile(opening))
    while True:
        position = _SEPARATOR.match(buffer, position).end()
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


def _found(stream: TextIO, opening: re.Pattern[str]) -> tuple[str, int]:
    """What is read of a stream when a pattern of less than 100 characters is found, and where the
    pattern ends."""
    buffer = stream.read(_CHUNK)
    while not (start := opening.search(buffer)):
        if not (more := stream.read(_CHUNK)):
            raise ValueError(f"expected {opening.pattern}")
        buffer = buffer[-100:] + more
    return buffer, start.end()
