"""Visual Genome: every region phrase is a caption of the whole image, as in the pretraining of
VLMo."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pipeline.data.datasets.formats import fields, json_stream, names
from pipeline.data.datasets.formats.archives import BadMember, Tree
from pipeline.data.datasets.formats.fields import BadRecord
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import ImageRecord, Rejected, annotation_text, captioned
from pipeline.errors import UserError

KIND = "image"
SHARED = True
# The zip that holds an image follows from the folder in the `url` of image_data alone.
_ZIPS = {"VG_100K": "images.zip", "VG_100K_2": "images2.zip"}
_JSON = ("image_data.json", "region_descriptions.json")
_T = TypeVar("_T")


class _Metadata(NamedTuple):
    """What image_data has of an image; names: in other data sets."""

    image: int
    url: str
    names: tuple[str, ...]


class _Regions(NamedTuple):
    """The phrases about an image."""

    image: int
    phrases: tuple[str, ...]


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
    """The zips of images, or all images of folders, and the two JSON files."""
    paths = []
    for folder, name in _ZIPS.items():
        images = json_stream.pick(root, name, folder)
        listed = names.files_below(images) if images.is_dir() else [""]
        paths += [images / path for path in listed]
    return paths + [json_stream.pick(root, f"{name}.zip", name) for name in _JSON]


def entries(root: Path) -> Iterator[_Entry | Rejected]:
    """In the order of the region descriptions; the key is the image id."""
    metadata: dict[int, _Metadata] = {}
    for found in _image_data(root):
        if isinstance(found, Rejected):
            yield found
        elif found.image in metadata:
            yield Rejected(str(found.image), "duplicate image_data entry")
        else:
            metadata[found.image] = found
    with _trees(root) as trees:
        for regions in _region_descriptions(root):
            if isinstance(regions, Rejected):
                yield regions
            else:
                yield _entry(regions, metadata.pop(regions.image, None), trees)
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
    phrases = [len(item.phrases) for item in _usable(_region_descriptions(root))]
    return {
        "image_data": sum(1 for _ in _usable(_image_data(root))),
        "region_descriptions": len(phrases),
        "phrases": sum(phrases),
        "missing images": sharded.rejected("missing image"),
    }


def _usable(items: Iterable[_T | Rejected]) -> Iterator[_T]:
    for item in items:
        if not isinstance(item, Rejected):
            yield item


def _entry(
    regions: _Regions, metadata: _Metadata | None, trees: dict[str, Tree]
) -> _Entry | Rejected:
    key = str(regions.image)
    if metadata is None:
        return Rejected(key, "no image_data entry")
    folder, _, filename = metadata.url.rpartition("/")
    folder = folder.rpartition("/")[2]
    if folder not in trees:
        return Rejected(key, "missing image")
    size = trees[folder].size(filename)
    return _Entry(key, folder, filename, regions.phrases, metadata.names, size)


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


def _image_data(root: Path) -> Iterator[_Metadata | Rejected]:
    return _items(root, "image_data.json", _metadata)


def _region_descriptions(root: Path) -> Iterator[_Regions | Rejected]:
    return _items(root, "region_descriptions.json", _regions)


def _metadata(item: Any) -> _Metadata:
    """Raises BadRecord."""
    known = []
    for source in ("coco", "flickr"):
        with suppress(BadRecord):  # null where it is not known
            if number := fields.integer(item, f"{source}_id"):
                known.append(f"{source} {number}")
    return _Metadata(fields.integer(item, "image_id"), fields.text(item, "url"), tuple(known))


def _regions(item: Any) -> _Regions:
    """Raises BadRecord."""
    regions = fields.items(item, "regions")
    phrases = tuple(fields.text_or_damaged(region, "phrase") for region in regions)
    return _Regions(fields.integer(item, "id"), phrases)


def _items(root: Path, name: str, parse: Callable[[Any], _T]) -> Iterator[_T | Rejected]:
    """The objects of a list, parsed. Raises UserError: it is damaged, or no list."""
    path = json_stream.pick(root, f"{name}.zip", name)
    try:
        with json_stream.open_text(path, name) as stream:
            yield from fields.parsed(json_stream.json_items(stream), parse, name)
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"{path}: {error}") from None


@contextmanager
def _trees(root: Path) -> Iterator[dict[str, Tree]]:
    with ExitStack() as stack:
        trees = {}
        for folder, name in _ZIPS.items():
            path = json_stream.pick(root, name, folder)
            trees[folder] = stack.enter_context(Tree(path, f"{folder}/"))
        yield trees
