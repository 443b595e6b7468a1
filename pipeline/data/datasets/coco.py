"""COCO 2014: pictures from the official zips; split and captions from Karpathy's
`dataset_coco.json`.

Karpathy's file repeats every official caption and tells by `filepath` which zip holds the picture,
so it is the only truth read here: `captions_*.json` would say the same without the split. Those
files are only asked for the pictures' numbers at Flickr.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.datasets.formats import flickr_ids, json_stream, karpathy_splits
from pipeline.data.datasets.formats.archives import BadMember, Tree
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import ImageRecord, Rejected, Split, captioned
from pipeline.errors import UserError

KIND = "image"
SHARED = True
_ZIPS = ("train2014", "val2014")
_ANNOTATIONS = "annotations_trainval2014.zip"
_NUMBER = re.compile(r"_(\d{12})\.jpg$")


@dataclass(frozen=True)
class _Entry:
    key: str
    split: Split
    folder: str
    filename: str
    captions: tuple[str, ...]
    names: tuple[str, ...]
    size: int


def files(root: Path) -> list[Path]:
    """The pictures' zips, or all pictures of folders, the split, and the official annotations if
    they are there."""
    annotations = [root / _ANNOTATIONS] if (root / _ANNOTATIONS).exists() else []
    found: list[Path] = []
    for place in (_place(root, name) for name in _ZIPS):
        found += sorted(place.iterdir()) if place.is_dir() else [place]
    return [*found, karpathy_splits.find(root, "coco"), *annotations]


def entries(root: Path) -> Iterator[_Entry | Rejected]:
    """In the order of the split file; the key is the file name without its suffix."""
    names = _names(root)
    with _trees(root) as trees:
        for entry in karpathy_splits.entries(root, "coco"):
            key = Path(entry.filename).stem
            if entry.folder not in trees:
                yield Rejected(key, "missing image")
            else:
                yield _Entry(
                    key,
                    entry.split,
                    entry.folder,
                    entry.filename,
                    entry.captions,
                    names(entry.filename),
                    trees[entry.folder].size(entry.filename),
                )


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Entry], Iterator[ImageRecord | Rejected]]]:
    """Pictures with their captions."""
    with _trees(root) as trees:

        def read(entry: _Entry) -> Iterator[ImageRecord | Rejected]:
            try:
                image = trees[entry.folder].read(entry.filename)
            except BadMember as error:
                yield Rejected(entry.key, str(error))
            else:
                yield from captioned(entry.key, entry.split, image, entry.captions, entry.names)

        yield read


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """What Karpathy's file names, and how many of its pictures are in neither zip."""
    return karpathy_splits.counts(root, "coco") | {
        "missing images": sharded.rejected("missing image")
    }


def evaluation_images(root: Path) -> Iterator[str]:
    """What other data sets call Karpathy's validation and test pictures."""
    names = _names(root)
    for entry in karpathy_splits.entries(root, "coco"):
        if entry.split != "train":
            yield from names(entry.filename)


def _names(root: Path) -> Callable[[str], tuple[str, ...]]:
    """The function file name -> names: COCO's number, and Flickr's where the official annotations
    are there to tell.

    A picture that is not called as COCO's are has no names.
    """
    addresses: dict[int, str] = {}
    if (root / _ANNOTATIONS).exists():
        for year in _ZIPS:
            addresses |= _addresses(root / _ANNOTATIONS, f"captions_{year}.json")

    def names(filename: str) -> tuple[str, ...]:
        if not (found := _NUMBER.search(filename)):
            return ()
        number = int(found[1])
        return f"coco {number}", *flickr_ids.names(addresses.get(number, ""))

    return names


def _addresses(path: Path, member: str) -> dict[int, str]:
    """Addresses at Flickr by COCO's number."""
    try:
        with json_stream.open_text(path, member) as stream:
            return {
                image["id"]: image["flickr_url"]
                for image in json_stream.json_items(stream, r'(?<!\\)"images"\s*:\s*\[')
            }
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        raise UserError(f"{path}: {member}: {error!r}") from None


@contextmanager
def _trees(root: Path) -> Iterator[dict[str, Tree]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(Tree(_place(root, name), f"{name}/")) for name in _ZIPS}


def _place(root: Path, name: str) -> Path:
    return json_stream.pick(root, f"{name}.zip", name)  # or the folder that it unpacks to
