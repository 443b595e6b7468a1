"""ADE20K's scene-parsing benchmark (2016): `ADEChallengeData2016.zip`, or the folder that it unpacks to."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.sources import official
from pipeline.sources.records import MaskRecord, Rejected, Split

KIND = "masks"
_NAME = "ADEChallengeData2016"
_SPLITS: dict[str, Split] = {"training": "train", "validation": "val"}
_Place = Path | zipfile.Path


def files(root: Path) -> list[Path]:
    """The archive, or all pictures and masks."""
    place = official.pick(root, f"{_NAME}.zip", _NAME)
    return sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]


def read(root: Path) -> Iterator[MaskRecord | Rejected]:
    """Pictures with their masks; the key is the file name without its suffix."""
    with _opened(official.pick(root, f"{_NAME}.zip", _NAME)) as base:
        for folder, split in _SPLITS.items():
            pictures = _by_key(base / "images" / folder, ".jpg")
            masks = _by_key(base / "annotations" / folder, ".png")
            for key in sorted(pictures.keys() | masks.keys()):
                yield _record(key, split, pictures.get(key), masks.get(key))


@contextmanager
def _opened(place: Path) -> Iterator[_Place]:
    """The folder that holds `images` and `annotations`, packed or not."""
    if place.is_dir():
        yield place
        return
    with zipfile.ZipFile(place) as archive:
        yield zipfile.Path(archive, f"{_NAME}/")


def _by_key(folder: _Place, suffix: str) -> dict[str, _Place]:
    if not folder.exists():
        return {}
    return {path.name.removesuffix(suffix): path for path in folder.iterdir() if path.name.endswith(suffix)}


def _record(key: str, split: Split, picture: _Place | None, mask: _Place | None) -> MaskRecord | Rejected:
    if picture is None or mask is None:
        return Rejected(key, "missing picture" if picture is None else "missing annotation")
    try:
        return MaskRecord(key, split, picture.read_bytes(), mask.read_bytes())
    except (zipfile.BadZipFile, EOFError):
        return Rejected(key, "damaged member of the zip")
