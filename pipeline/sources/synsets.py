"""ImageNet's nesting: a tar of one tar per synset, each of flat pictures, read as nested streams."""

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from pipeline.sources.records import ImageRecord, Rejected


def read(path: Path, labels: Mapping[str, int]) -> Iterator[ImageRecord | Rejected]:
    """Training pictures in archive order; keys are the file names `<wnid>_<number>`. `labels` is by synset id."""
    with tarfile.open(path, "r|*") as outer:
        for member in outer:
            if (wnid := _wnid(member)) is None:
                continue
            if wnid in labels:
                yield from _synset(wnid, labels[wnid], outer.extractfile(member))
            else:
                yield Rejected(wnid, "unknown synset")


def wnids(path: Path) -> list[str]:
    """All synset ids in sorted order: a pass over the headers of the outer tar."""
    with tarfile.open(path) as outer:
        return sorted(wnid for member in outer if (wnid := _wnid(member)) is not None)


def _synset(wnid: str, label: int, stream: IO[bytes]) -> Iterator[ImageRecord | Rejected]:
    try:
        with tarfile.open(fileobj=stream, mode="r|") as inner:
            for member in inner:
                if member.isfile():
                    key = Path(member.name).stem
                    yield ImageRecord(key, "train", inner.extractfile(member).read(), (), label)
    except tarfile.TarError as error:
        yield Rejected(wnid, f"damaged tar: {error}")


def _wnid(member: tarfile.TarInfo) -> str | None:
    path = Path(member.name)
    return path.stem if member.isfile() and path.suffix == ".tar" else None
