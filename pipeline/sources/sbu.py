"""SBU Captions: one JSON object of parallel arrays inside a tar."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.sources import official, urllist
from pipeline.sources.records import UrlRow

KIND = "image"
_ARCHIVE = "sbu-captions-all.tar.gz"
_MEMBER = "sbu-captions-all.json"
read = urllist.read


def files(root: Path) -> list[Path]:
    """The list."""
    return [official.pick(root, _ARCHIVE)]


def urls(root: Path) -> Iterator[UrlRow]:
    """The rows of the list; the key is the row number. The list has no official split.

    Raises:
        UserError: the arrays are missing or differ in length.
    """
    lists = _lists(root / _ARCHIVE)
    try:
        pairs = list(zip(lists["image_urls"], lists["captions"], strict=True))
    except (KeyError, ValueError) as error:
        raise UserError(f"{root / _ARCHIVE}: expected image_urls and captions of one length: {error}") from None
    for number, (url, caption) in enumerate(pairs):
        yield UrlRow(f"{number:07d}", "train", url.strip(), caption)


def _lists(path: Path) -> dict[str, Any]:
    """The whole object: about 144 MB decoded."""
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if member.name.rpartition("/")[2] == _MEMBER:
                return json.load(archive.extractfile(member))
    raise UserError(f"{path}: no {_MEMBER} in it")
