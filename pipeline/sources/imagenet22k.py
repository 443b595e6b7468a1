"""ImageNet-22K: a tar of one tar per synset, read as nested streams."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipeline.sources import official
from pipeline.sources.records import ImageRecord, Rejected

KIND = "image"
_ARCHIVES = ("fall11_whole.tar", "winter21_whole.tar.gz")


def files(root: Path) -> list[Path]:
    """The whole release."""
    return [official.pick(root, *_ARCHIVES)]


def read(root: Path) -> Iterator[ImageRecord | Rejected]:
    """Pictures in archive order; the key is `<wnid>_<number>`, the label the place of the wnid in sorted order."""
    path = official.pick(root, *_ARCHIVES)
    labels = _labels(path)
    with tarfile.open(path, "r|*") as outer:
        for member in outer:
            wnid = _wnid(member)
            if wnid is not None:
                yield from _synset(wnid, labels[wnid], outer.extractfile(member))


def _synset(wnid: str, label: int, stream: IO[bytes]) -> Iterator[ImageRecord | Rejected]:
    try:
        with tarfile.open(fileobj=stream, mode="r|") as inner:
            for member in inner:
                if member.isfile():
                    key = Path(member.name).stem
                    yield ImageRecord(key, "train", inner.extractfile(member).read(), (), label)
    except tarfile.TarError as error:
        yield Rejected(wnid, f"damaged tar: {error}")


def _labels(path: Path) -> dict[str, int]:
    """A pass over the headers first: the label of a class depends on all names, and the tar may be in any order."""
    with tarfile.open(path) as outer:
        wnids = sorted(wnid for member in outer if (wnid := _wnid(member)) is not None)
    return {wnid: label for label, wnid in enumerate(wnids)}


def _wnid(member: tarfile.TarInfo) -> str | None:
    path = Path(member.name)
    return path.stem if member.isfile() and path.suffix == ".tar" else None
