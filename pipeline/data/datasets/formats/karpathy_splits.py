"""Karpathy's splits: `dataset_<name>.json`, bare or inside `caption_datasets.zip`."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.datasets.formats import fields, json_stream
from pipeline.data.datasets.formats.fields import BadRecord
from pipeline.data.records import SPLITS, Rejected, Split
from pipeline.errors import UserError

# `restval` is the rest of COCO's validation images, on which everybody trains.
_SPLITS: dict[str, Split] = {"train": "train", "restval": "train", "val": "val", "test": "test"}


@dataclass(frozen=True)
class Entry:
    """One image; the folder is empty where the file does not name it (Flickr30K)."""

    filename: str
    folder: str
    split: Split
    captions: tuple[str, ...]
    part: str  # the split as the file names it, which distinguishes `restval` from `train`


def find(root: Path, dataset: str) -> Path:
    """The file that holds the split. Raises FileNotFoundError."""
    return json_stream.pick(root, "caption_datasets.zip", f"dataset_{dataset}.json")


def counts(root: Path, dataset: str, splits: Collection[str]) -> dict[str, int]:
    """Images of each split as the file names them, and `captions` of all, of those that `splits`
    has."""
    totals = dict.fromkeys((*_SPLITS, "captions"), 0)
    for entry in usable(root, dataset, splits):
        totals[entry.part] += 1
        totals["captions"] += len(entry.captions)
    return totals


def usable(root: Path, dataset: str, splits: Collection[str]) -> Iterator[Entry]:
    """The entries of these splits that are not rejected. Raises as `entries`."""
    for entry in entries(root, dataset, splits):
        if isinstance(entry, Entry):
            yield entry


def entries(
    root: Path, dataset: str, splits: Collection[str] = SPLITS
) -> Iterator[Entry | Rejected]:
    """The entries of these splits in file order. Captions are the `raw` ones: `tokens` have lost
    case, punctuation and hyphens.

    Raises:
        UserError: the file is damaged or not of this format.
    """
    path, name = find(root, dataset), f"dataset_{dataset}.json"
    try:
        with json_stream.open_text(path, name) as stream:
            images = json_stream.json_items(stream, "images")
            for entry in fields.parsed(images, _entry, f"{name}: images"):
                if isinstance(entry, Rejected) or entry.split in splits:
                    yield entry
    except ValueError as error:
        raise UserError(f"{path}: not Karpathy's split of {dataset}: {error}") from None


def _entry(image: Any) -> Entry:
    """Raises BadRecord."""
    part = fields.text(image, "split")
    if part not in _SPLITS:
        raise BadRecord(f"unknown split: {part!r}, not one of {', '.join(_SPLITS)}")
    captions = []
    for sentence in fields.items(image, "sentences"):
        captions.append(fields.text_or_damaged(sentence, "raw"))
    folder = fields.text(image, "filepath") if "filepath" in image else ""
    return Entry(fields.text(image, "filename"), folder, _SPLITS[part], tuple(captions), part)
