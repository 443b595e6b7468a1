"""Karpathy's splits: `dataset_<name>.json`, bare or inside `caption_datasets.zip`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.sources import official
from pipeline.sources.records import Split

# `restval` is the rest of COCO's validation pictures, which everybody trains on.
_SPLITS: dict[str, Split] = {"train": "train", "restval": "train", "val": "val", "test": "test"}


@dataclass(frozen=True)
class Entry:
    """One picture: the folder is empty where the file does not tell it (Flickr30K)."""

    filename: str
    folder: str
    split: Split
    captions: tuple[str, ...]


def find(root: Path, dataset: str) -> Path:
    """The file that holds the split. Raises FileNotFoundError."""
    return official.pick(root, "caption_datasets.zip", f"dataset_{dataset}.json")


def entries(root: Path, dataset: str) -> Iterator[Entry]:
    """The entries in file order. Captions are the `raw` ones: `tokens` have lost case, punctuation and hyphens.

    Raises:
        UserError: the file is damaged or not of this format.
    """
    path = find(root, dataset)
    try:
        with official.open_text(path, f"dataset_{dataset}.json") as stream:
            for image in official.json_items(stream, r'(?<!\\)"images"\s*:\s*\['):
                yield Entry(image["filename"], image.get("filepath", ""), _SPLITS[image["split"]],
                            tuple(sentence["raw"] for sentence in image["sentences"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not Karpathy's split of {dataset}: {error}") from None
