"""Conceptual Captions 3M: two tab-separated lists of captions and URLs, without header or
quoting."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.data.datasets.formats import fetched_urls, json_stream, text_files
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import Split, UrlRow

KIND = "image"
SHARED = True
# The names under which a browser saves them, and those on the server.
_LISTS: dict[Split, tuple[str, str]] = {
    "train": ("Train_GCC-training.tsv", "GCC-training.tsv"),
    "val": ("Validation_GCC-1.1.0-Validation.tsv", "GCC-1.1.0-Validation.tsv"),
}
entries, open_reader = fetched_urls.entries, fetched_urls.open_reader


def files(root: Path) -> list[Path]:
    """The two lists."""
    return [json_stream.pick(root, *names) for names in _LISTS.values()]


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """URLs of both lists, and the images that they gave."""
    rows_of = fetched_urls.rows(root)
    return {
        "train URLs": rows_of["train"],
        "val URLs": rows_of["val"],
        "train images": sharded.rows("train"),
    }


def urls(root: Path) -> Iterator[UrlRow]:
    """The rows of both lists; the key is `<split>_<row number>`."""
    for (split, _), path in zip(_LISTS.items(), files(root), strict=True):
        yield from rows(path, split)


def rows(path: Path, split: Split) -> Iterator[UrlRow]:
    """The rows of one list. A line without exactly one tab has no URL."""
    for number, line in enumerate(text_files.lines(path)):
        caption, *rest = line.split("\t")
        url = rest[0].strip() if len(rest) == 1 else ""
        yield UrlRow(f"{split}_{number:07d}", split, url, caption)
