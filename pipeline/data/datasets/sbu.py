"""SBU Captions: one JSON object of parallel arrays inside a tar."""

import tarfile
from codecs import getreader
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.data.datasets.formats import fetched_urls, fields, json_stream, tars
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import UrlRow
from pipeline.errors import UserError

KIND = "image"
SHARED = True
_ARCHIVE = "sbu-captions-all.tar.gz"
_MEMBER = "sbu-captions-all.json"
entries, open_reader = fetched_urls.entries, fetched_urls.open_reader


def files(root: Path) -> list[Path]:
    """The list."""
    return [json_stream.pick(root, _ARCHIVE)]


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """URLs of the list, and the images that they gave."""
    return {"URLs": fetched_urls.rows(root)["train"], "images": sharded.rows("train", "val")}


def urls(root: Path) -> Iterator[UrlRow]:
    """The rows of the list; the key is the row number. The list has no official split. A URL that
    is no text is empty.

    The object has 144 MB and its arrays follow one another, so it is read by two streams at the
    same time.

    Raises:
        UserError: an array is missing or damaged, or they differ in length.
    """
    path = root / _ARCHIVE
    try:
        pairs = zip(_array(path, "image_urls"), _array(path, "captions"), strict=True)
        for number, (url, caption) in enumerate(pairs):
            url = url.strip() if isinstance(url, str) else ""
            caption = caption if isinstance(caption, str) else fields.DAMAGED
            yield UrlRow(f"{number:07d}", "train", url, caption)
    except (ValueError, tarfile.TarError) as error:
        raise UserError(
            f"{path}: expected {_MEMBER} with image_urls and captions of one length: {error}"
        ) from None


def _array(path: Path, name: str) -> Iterator[Any]:
    """The strings of one array. A quote inside a string is escaped, so the key cannot be found in
    one."""
    for member, stream, _ in tars.in_stream(path):
        if member.rpartition("/")[2] == _MEMBER and stream is not None:
            text = getreader("utf-8")(stream, "replace")
            yield from json_stream.json_items(text, name)
            return
    raise ValueError(f"no {_MEMBER}")
