"""Karpathy's splits: `dataset_<name>.json`, bare or inside `caption_datasets.zip`."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.datasets.formats import json_stream
from pipeline.data.records import Split
from pipeline.errors import UserError

# `restval` is the rest of COCO's validation pictures, which everybody trains on.
_SPLITS: dict[str, Split] = {"train": "train", "restval": "train", "val": "val", "test": "test"}


@dataclass(frozen=True)
class Entry:
    """One picture: the folder is empty where the file does not tell it (Flickr30K)."""

    filename: str
    folder: str
    split: Split
    captions: tuple[str, ...]
    part: str  # the file's own split, which tells `restval` from `train`


def find(root: Path, dataset: str) -> Path:
    """The file that holds the split. Raises FileNotFoundError."""
    return json_stream.pick(root, "caption_datasets.zip", f"dataset_{dataset}.json")


def counts(root: Path, dataset: str) -> dict[str, int]:
    """Pictures of each of the file's own splits, and `captions` of all."""
    found: Counter[str] = Counter()
    for entry in entries(root, dataset):
        found[entry.part] += 1
        found["captions"] += len(entry.captions)
    return {name: found[name] for name in (*_SPLITS, "captions")}


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
