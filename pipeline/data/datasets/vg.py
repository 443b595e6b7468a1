"""Visual Genome: every region phrase is a caption of the whole picture, as in the pretraining of
VLMo."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.datasets.formats import json_stream
from pipeline.data.datasets.formats.archives import BadMember, Tree
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import ImageRecord, Rejected, captioned, tidy
from pipeline.errors import UserError

KIND = "image"
SHARED = True
# Only the folder in the `url` of image_data tells which zip holds a picture.
_ZIPS = {"VG_100K": "images.zip", "VG_100K_2": "images2.zip"}


@dataclass(frozen=True)
class _Entry:
    key: str
    folder: str
    filename: str
    phrases: tuple[str, ...]
    names: tuple[str, ...]
    size: int


def files(root: Path) -> list[Path]:
    """The picture zips and the two JSON files."""
    return [
        json_stream.pick(root, name)
        for name in (*_ZIPS.values(), "image_data.json.zip", "region_descriptions.json.zip")
    ]


def entries(root: Path) -> Iterator[_Entry | Rejected]:
    """In the order of the region descriptions; the key is the image id."""
    metadata = {
        item["image_id"]: item for item in _items(root, "image_data.json", "image_id", "url")
    }
    with _trees(root) as trees:
        for item in _items(root, "region_descriptions.json", "id", "regions"):
            yield _entry(item, metadata.pop(item["id"], None), trees)
    for number in metadata:
        yield Rejected(str(number), "no region descriptions")


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Entry], Iterator[ImageRecord | Rejected]]]:
    """Pictures with their phrases, without those that repeat an earlier one, whatever their case
    and blanks."""
    with _trees(root) as trees:

        def read(entry: _Entry) -> Iterator[ImageRecord | Rejected]:
            try:
                image = trees[entry.folder].read(entry.filename)
            except BadMember as error:
                yield Rejected(entry.key, str(error))
            else:
                kept, repeated = _distinct(entry.phrases)
                yield from (
                    Rejected(f"{entry.key}#{number}", "repeated phrase") for number in repeated
                )
                yield from captioned(entry.key, "train", image, kept, entry.names)

        yield read


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Objects of both lists, phrases, and pictures that are in neither zip."""
    regions = [
        len(item["regions"]) for item in _items(root, "region_descriptions.json", "id", "regions")
    ]
    return {
        "image_data": sum(1 for _ in _items(root, "image_data.json", "image_id", "url")),
        "region_descriptions": len(regions),
        "phrases": sum(regions),
        "missing images": sharded.rejected("missing image"),
    }


def _entry(
    item: dict[str, Any], metadata: dict[str, Any] | None, trees: dict[str, Tree]
) -> _Entry | Rejected:
    key = str(item["id"])
    if metadata is None:
        return Rejected(key, "no image_data entry")
    folder, _, filename = metadata["url"].rpartition("/")
    folder = folder.rpartition("/")[2]
    if folder not in trees:
        return Rejected(key, "missing image")
    phrases = tuple(region["phrase"] for region in item["regions"])
    names = tuple(
        f"{where} {metadata[f'{where}_id']}"
        for where in ("coco", "flickr")
        if metadata.get(f"{where}_id")
    )
    return _Entry(key, folder, filename, phrases, names, trees[folder].size(filename))


def _distinct(phrases: tuple[str, ...]) -> tuple[list[str], list[int]]:
    """The first of each group of equal phrases, and the places of the others."""
    first = {
        tidy(phrase).casefold(): number for number, phrase in reversed(list(enumerate(phrases)))
    }
    kept = list(first.values())[::-1]
    return [phrases[number] for number in kept], sorted(set(range(len(phrases))) - set(kept))


def _items(root: Path, name: str, *keys: str) -> Iterator[dict[str, Any]]:
    """The objects of a list, which must have these keys."""
    path = root / f"{name}.zip"
    try:
        with json_stream.open_text(path, name) as stream:
            for item in json_stream.json_items(stream, r"\["):
                if missing := [key for key in keys if key not in item]:
                    raise ValueError(f"{name}: an object without {missing[0]}")
                yield item
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"{path}: {error}") from None


@contextmanager
def _trees(root: Path) -> Iterator[dict[str, Tree]]:
    with ExitStack() as stack:
        yield {
            folder: stack.enter_context(Tree(root / name, f"{folder}/"))
            for folder, name in _ZIPS.items()
        }
