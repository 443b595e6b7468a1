"""Visual Genome: every region phrase is a caption of the whole picture, as in the pretraining of VLMo."""

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.sources import official
from pipeline.sources.records import ImageRecord, Rejected, captioned, tidy

KIND = "image"
# Only the folder in the `url` of image_data tells which zip holds a picture.
_ZIPS = {"VG_100K": "images.zip", "VG_100K_2": "images2.zip"}


def files(root: Path) -> list[Path]:
    """The picture zips and the two JSON files."""
    return [official.pick(root, name) for name in (*_ZIPS.values(), "image_data.json.zip",
                                                   "region_descriptions.json.zip")]


def read(root: Path) -> Iterator[ImageRecord | Rejected]:
    """Pictures in the order of the region descriptions; the key is the image id."""
    metadata = {item["image_id"]: item for item in _items(root, "image_data.json")}
    with zipfile.ZipFile(root / "images.zip") as first, zipfile.ZipFile(root / "images2.zip") as second:
        archives = dict(zip(_ZIPS, (first, second), strict=True))
        for item in _items(root, "region_descriptions.json"):
            yield from _record(item, metadata.pop(item["id"], None), archives)
    for number in metadata:
        yield Rejected(str(number), "no region descriptions")


def _record(item: dict[str, Any], metadata: dict[str, Any] | None,
            archives: dict[str, zipfile.ZipFile]) -> Iterator[ImageRecord | Rejected]:
    key = str(item["id"])
    if metadata is None:
        yield Rejected(key, "no image_data entry")
        return
    folder, name = metadata["url"].split("/")[-2:]
    archive = archives.get(folder)
    image = official.read_member(archive, f"{folder}/{name}") if archive else None
    if image is None:
        yield Rejected(key, "missing picture")
    else:
        yield from captioned(key, "train", image, _distinct(region["phrase"] for region in item["regions"]))


def _distinct(phrases: Iterable[str]) -> list[str]:
    """The phrases without those that repeat an earlier one, whatever their case and blanks."""
    return list({tidy(phrase).casefold(): phrase for phrase in reversed(list(phrases))}.values())[::-1]


def _items(root: Path, name: str) -> Iterator[dict[str, Any]]:
    path = root / f"{name}.zip"
    try:
        with official.open_text(path, name) as stream:
            yield from official.json_items(stream, r"^\s*\[")
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"{path}: {error}") from None
