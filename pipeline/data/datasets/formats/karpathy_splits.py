"""Karpathy's splits: `dataset_<name>.json`, bare or inside `caption_datasets.zip`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.datasets.formats import json_stream
from pipeline.data.records import Split
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


def counts(root: Path, dataset: str) -> dict[str, int]:
    """Images of each split as the file names them, and `captions` of all."""
    totals = dict.fromkeys((*_SPLITS, "captions"), 0)
    for entry in entries(root, dataset):
        totals[entry.part] += 1
        totals["captions"] += len(entry.captions)
    return totals


def entries(root: Path, dataset: str) -> Iterator[Entry]:
    """The entries in file order. Captions are the `raw` ones: `tokens` have lost case, punctuation
    and hyphens.

    Raises:
        UserError: the file is damaged or not of this format.
    """
    path = find(root, dataset)
    try:
        with json_stream.open_text(path, f"dataset_{dataset}.json") as stream:
            for image in json_stream.json_items(stream, r'(?<!\\)"images"\s*:\s*\['):
                yield Entry(
                    image["filename"],
                    image.get("filepath", ""),
                    _SPLITS[image["split"]],
                    tuple(sentence["raw"] for sentence in image["sentences"]),
                    image["split"],
                )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not Karpathy's split of {dataset}: {error}") from None
