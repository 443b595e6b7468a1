"""COCO 2014 with Karpathy's splits: `train2014.zip`, `val2014.zip`, `annotations_trainval2014.zip`
and `caption_datasets.zip` with `dataset_coco.json`.

Karpathy's train is train2014; his restval, val and test are val2014. Captions have the blemishes of
the real ones.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.synthetic import archives, captioned_images, injected_faults
from pipeline.data.synthetic.captioned_images import Item
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.utils import seeds

_PARTS = ("train", "restval", "val", "test")
_LICENCES = [
    {"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"}
]


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official files."""
    items = [
        _blemished(item, params)
        for part in _PARTS
        for item in captioned_images.items(params, "coco", part)
    ]
    for year in ("train2014", "val2014"):
        archives.write_zip(folder / f"{year}.zip", _pictures(items, year, params))
    archives.write_zip(
        folder / "annotations_trainval2014.zip",
        (
            (
                f"annotations/captions_{year}.json",
                archives.json_bytes(_annotations(items, year, params)),
            )
            for year in ("train2014", "val2014")
        ),
    )
    splits = archives.json_bytes(_split(items, params))
    archives.write_zip(folder / "caption_datasets.zip", [("dataset_coco.json", splits)])


def image_id(part: str, index: int) -> int:
    """The number of a picture, unique over all parts."""
    return 9 + _PARTS.index(part) + 4 * index


def _year(part: str) -> str:
    return "train2014" if part == "train" else "val2014"


def _file_name(item: Item) -> str:
    return f"COCO_{_year(item.part)}_{image_id(item.part, item.index):012d}.jpg"


def _pictures(items: list[Item], year: str, params: SyntheticParams) -> Iterator[tuple[str, bytes]]:
    chosen = [item for item in items if _year(item.part) == year]
    for item in sorted(chosen, key=_file_name):
        data = item.jpeg(params)
        if (item.part, item.index) == ("train", injected_faults.TRUNCATED):
            data = injected_faults.truncated(data)
        yield f"{year}/{_file_name(item)}", data


def _annotations(items: list[Item], year: str, params: SyntheticParams) -> dict[str, Any]:
    """`captions_<year>.json`; `images` and `annotations` are in different orders."""
    numbered = _numbered([item for item in items if _year(item.part) == year])
    images = [
        numbered[i][0]
        for i in captioned_images.shuffled(params, f"coco/{year}/images", len(numbered))
    ]
    captions = [
        {"image_id": image_id(item.part, item.index), "id": first + place, "caption": caption}
        for item, first in numbered
        for place, caption in enumerate(item.captions)
    ]
    order = captioned_images.shuffled(params, f"coco/{year}/annotations", len(captions))
    return {
        "info": {
            "description": "A generated world in the format of COCO 2014",
            "url": "http://cocodataset.org",
            "version": "1.0",
            "year": 2014,
            "contributor": "pipeline.data.synthetic",
            "date_created": "2014/09/01",
        },
        "licenses": _LICENCES,
        "images": [_image(item, year) for item in images],
        "annotations": [captions[i] for i in order],
    }


def _image(item: Item, year: str) -> dict[str, Any]:
    return {
        "license": 4,
        "file_name": _file_name(item),
        "id": image_id(item.part, item.index),
        "height": item.scene.height,
        "width": item.scene.width,
        "date_captured": "2013-11-14 17:02:52",
        "coco_url": f"http://images.cocodataset.org/{year}/{_file_name(item)}",
        "flickr_url": f"http://farm1.staticflickr.com/1/{image_id(item.part, item.index)}_o.jpg",
    }


def _split(items: list[Item], params: SyntheticParams) -> dict[str, Any]:
    numbered = _numbered(items)
    entries = []
    for imgid, number in enumerate(captioned_images.shuffled(params, "coco/karpathy", len(items))):
        item, first = numbered[number]
        entries.append(
            captioned_images.karpathy(item, imgid, first)
            | {
                "filepath": _year(item.part),
                "filename": _file_name(item),
                "cocoid": image_id(item.part, item.index),
            }
        )
    return {"images": entries, "dataset": "coco"}


def _numbered(items: list[Item]) -> list[tuple[Item, int]]:
    """Each picture with the id of its first caption: the same ids in the annotations and in
    Karpathy's file."""
    return [(item, 10 * image_id(item.part, item.index)) for item in items]


def _blemished(item: Item, params: SyntheticParams) -> Item:
    """White space, line breaks and missing full stops, about as often as in the real file; one
    empty caption."""
    rng = seeds.generator(params.seed, "blemishes", "coco", item.part, item.index)
    captions = [_blemish(caption, rng) for caption in item.captions]
    if (item.part, item.index) == ("train", injected_faults.NO_CAPTION):
        captions[2] = ""
    return replace(item, captions=tuple(captions))


def _blemish(caption: str, rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < 0.25:
        return caption.removesuffix(".")
    if draw < 0.36:
        return caption + " "
    if draw < 0.375:
        return caption.replace(" ", "  ", 1)
    return caption + "\n" if draw < 0.378 else caption
