"""COCO 2014: images from the official zips; split and captions from Karpathy's
`dataset_coco.json`.

Karpathy's file repeats every official caption and names in `filepath` the zip that holds the image,
so captions are read from it alone: `captions_*.json` has the same without the split. Of those files
only the URLs at Flickr are read.
"""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.datasets.formats import (
    fields,
    flickr_ids,
    json_stream,
    karpathy_splits,
    names,
)
from pipeline.data.datasets.formats.archives import BadMember, Tree
from pipeline.data.datasets.formats.fields import BadRecord
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import SPLITS, ImageRecord, Rejected, Split, captioned
from pipeline.errors import UserError

KIND = "image"
SHARED = True
_ZIPS = ("train2014", "val2014")
_ANNOTATIONS = "annotations_trainval2014.zip"
_NUMBER = re.compile(r"_(\d{12})\.jpg\Z")
_OFFICIAL = re.compile(r"COCO_\w+_\d{12}\.jpg")


@dataclass(frozen=True)
class _Entry:
    """filename: in the zip or folder `folder`; names: of the image in other data sets; size: bytes
    of the image."""

    key: str
    split: Split
    folder: str
    filename: str
    captions: tuple[str, ...]
    names: tuple[str, ...]
    size: int


def files(root: Path, splits: Collection[str] = SPLITS) -> list[Path]:
    """The zips of images, or all images of folders, the split, and the official annotations if they
    are there and something is trained on."""
    paths: list[Path] = []
    for name in _zips(splits):
        images = _image_root(root, name)
        listed = names.files_below(images) if images.is_dir() else [""]
        paths += [images / path for path in listed]
    paths.append(karpathy_splits.find(root, "coco"))
    annotations = root / _ANNOTATIONS
    return [*paths, annotations] if "train" in splits and annotations.exists() else paths


def entries(root: Path, splits: Collection[str] = SPLITS) -> Iterator[_Entry | Rejected]:
    """In the order of the split file; the key is the file name without its suffix, or the path of
    an image that is not called as COCO's."""
    names_of = _names(root) if "train" in splits else _no_names
    with _trees(root, splits) as trees:
        for entry in karpathy_splits.entries(root, "coco", splits):
            if isinstance(entry, Rejected):
                yield entry
                continue
            key = names.image_key(entry.filename, _OFFICIAL, entry.folder)
            if entry.folder not in trees:
                yield Rejected(key, "missing image")
            else:
                yield _Entry(
                    key,
                    entry.split,
                    entry.folder,
                    entry.filename,
                    entry.captions,
                    names_of(entry.filename),
                    trees[entry.folder].size(entry.filename),
                )


@contextmanager
def open_reader(
    root: Path, splits: Collection[str] = SPLITS
) -> Iterator[Callable[[_Entry], Iterator[ImageRecord | Rejected]]]:
    """Images with their captions."""
    with _trees(root, splits) as trees:

        def read(entry: _Entry) -> Iterator[ImageRecord | Rejected]:
            try:
                image = trees[entry.folder].read(entry.filename)
            except BadMember as error:
                yield Rejected(entry.key, str(error))
            else:
                yield from captioned(entry.key, entry.split, image, entry.captions, entry.names)

        yield read


def counts(root: Path, sharded: Sharded, splits: Collection[str] = SPLITS) -> dict[str, int]:
    """Images and captions of Karpathy's file, and how many of its images are in no zip."""
    return karpathy_splits.counts(root, "coco", splits) | {
        "missing images": sharded.rejected("missing image")
    }


def evaluation_images(root: Path) -> Iterator[str]:
    """Names of Karpathy's validation and test images in other data sets."""
    names_of = _names(root)
    for entry in karpathy_splits.usable(root, "coco", ("val", "test")):
        yield from names_of(entry.filename)


def _zips(splits: Collection[str]) -> tuple[str, ...]:
    """Those that hold images of these splits: of train2014 all are trained on."""
    return _ZIPS if "train" in splits else ("val2014",)


def _no_names(filename: str) -> tuple[str, ...]:
    """Of an image that is not trained on: only training images are left out by their names."""
    return ()


def _names(root: Path) -> Callable[[str], tuple[str, ...]]:
    """The function file name -> names: COCO's number, and Flickr's if the official annotations are
    there.

    An image whose file name is not of COCO's form has no names.
    """
    urls: dict[int, str] = {}
    if (root / _ANNOTATIONS).exists():
        for year in _ZIPS:
            urls |= _flickr_urls(root / _ANNOTATIONS, f"captions_{year}.json")

    def names_of(filename: str) -> tuple[str, ...]:
        if not (match := _NUMBER.search(filename)):
            return ()
        number = int(match[1])
        return f"coco {number}", *flickr_ids.names(urls.get(number, ""))

    return names_of


def _flickr_urls(path: Path, member: str) -> dict[int, str]:
    """URLs at Flickr by COCO's number; of images without either nothing."""
    urls = {}
    try:
        with json_stream.open_text(path, member) as stream:
            for image in json_stream.json_items(stream, "images"):
                with suppress(BadRecord):
                    urls[fields.integer(image, "id")] = fields.text(image, "flickr_url")
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"{path}: {member}: {error!r}") from None
    return urls


@contextmanager
def _trees(root: Path, splits: Collection[str]) -> Iterator[dict[str, Tree]]:
    with ExitStack() as stack:
        trees = {}
        for name in _zips(splits):
            trees[name] = stack.enter_context(Tree(_image_root(root, name), f"{name}/"))
        yield trees


def _image_root(root: Path, name: str) -> Path:
    """The zip, or the folder that it unpacks to."""
    return json_stream.pick(root, f"{name}.zip", name)
