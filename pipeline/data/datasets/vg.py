"""Visual Genome: every region phrase is a caption of the whole image, as in the pretraining of
VLMo."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.datasets.formats import json_stream
from pipeline.data.datasets.formats.archives import BadMember, Tree
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import ImageRecord, Rejected, annotation_text, captioned
from pipeline.errors import UserError

KIND = "image"
SHARED = True
# The zip that holds an image follows from the folder in the `url` of image_data alone.
_ZIPS = {"VG_100K": "images.zip", "VG_100K_2": "images2.zip"}
_JSON = ("image_data.json.zip", "region_descriptions.json.zip")


@dataclass(frozen=True)
class _Entry:
    """filename: in the zip of `folder`; names: of the image in other data sets; size: bytes of the
    image."""

    key: str
    folder: str
    filename: str
    phrases: tuple[str, ...]
    names: tuple[str, ...]
    size: int


def files(root: Path) -> list[Path]:
    """The zips of images and the two JSON files."""
    return [json_stream.pick(root, name) for name in (*_ZIPS.values(), *_JSON)]


def entries(root: Path) -> Iterator[_Entry | Rejected]:
    """In the order of the region descriptions; the key is the image id."""
    metadata = {item["image_id"]: item for item in _image_data(root)}
    with _trees(root) as trees:
        for item in _region_descriptions(root):
            yield _entry(item, metadata.pop(item["id"], None), trees)
    for number in metadata:
        yield Rejected(str(number), "no region descriptions")


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Entry], Iterator[ImageRecord | Rejected]]]:
    """Images with their phrases, without those that repeat an earlier one but for case and
    blanks."""
    with _trees(root) as trees:

        def read(entry: _Entry) -> Iterator[ImageRecord | Rejected]:
            try:
                image = trees[entry.folder].read(entry.filename)
            except BadMember as error:
                yield Rejected(entry.key, str(error))
            else:
                distinct, repeated = _distinct(entry.phrases)
                for number in repeated:
                    yield Rejected(f"{entry.key}#{number}", "repeated phrase")
                yield from captioned(entry.key, "train", image, distinct, entry.names)

        yield read


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Objects of both lists, phrases, and images that are in neither zip."""
    regions = [len(item["regions"]) for item in _region_descriptions(root)]
    return {
        "image_data": sum(1 for _ in _image_data(root)),
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
    size = trees[folder].size(filename)
    return _Entry(key, folder, filename, phrases, _names(metadata), size)


def _names(metadata: dict[str, Any]) -> tuple[str, ...]:
    """Names of the image in COCO and at Flickr, as far as they are known."""
    names = []
    for source in ("coco", "flickr"):
        if number := metadata.get(f"{source}_id"):
            names.append(f"{source} {number}")
    return tuple(names)


def _distinct(phrases: tuple[str, ...]) -> tuple[list[str], list[int]]:
    """The first of each group of equal phrases, and the indices of the others.

    The groups are in the order of their last members.
    """
    first: dict[str, int] = {}
    for number in reversed(range(len(phrases))):
        first[annotation_text(phrases[number]).casefold()] = number
    distinct = list(first.values())[::-1]
    repeated = sorted(set(range(len(phrases))) - set(distinct))
    return [phrases[number] for number in distinct], repeated


def _image_data(root: Path) -> Iterator[dict[str, Any]]:
    return _items(root, "image_data.json", "image_id", "url")


def _region_descriptions(root: Path) -> Iterator[dict[str, Any]]:
    return _items(root, "region_descriptions.json", "id", "regions")


def _items(root: Path, name: str, *keys: str) -> Iterator[dict[str, Any]]:
    """The objects of a list, which must have these keys."""
    path = root / f"{name}.zip"
    try:
        with json_stream.open_text(path, name) as stream:
            for item in json_stream.json_items(stream, r"\["):
                for key in keys:
                    if key not in item:
                        raise ValueError(f"{name}: an object without {key}")
                yield item
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"{path}: {error}") from None


@contextmanager
def _trees(root: Path) -> Iterator[dict[str, Tree]]:
    with ExitStack() as stack:
        trees = {}
        for folder, name in _ZIPS.items():
            trees[folder] = stack.enter_context(Tree(root / name, f"{folder}/"))
        yield trees
