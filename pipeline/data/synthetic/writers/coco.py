"""COCO 2014 with Karpathy's splits: `train2014.zip`, `val2014.zip`, `annotations_trainval2014.zip`
and `caption_datasets.zip` with `dataset_coco.json`.

Karpathy's train is train2014; his restval, val and test are val2014. Captions have the flaws of the
real ones.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.synthetic import archives, captioned_images, injected_faults
from pipeline.data.synthetic.captioned_images import CaptionedImage
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.utils import seeds

_PARTS = ("train", "restval", "val", "test")
_LICENSES = [
    {"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"}
]


_YEARS = ("train2014", "val2014")
_INFO = {
    "description": "A generated world in the format of COCO 2014",
    "url": "http://cocodataset.org",
    "version": "1.0",
    "year": 2014,
    "contributor": "pipeline.data.synthetic",
    "date_created": "2014/09/01",
}


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official files."""
    images = []
    for part in _PARTS:
        for image in captioned_images.captioned_images(params, "coco", part):
            images.append(_flawed(image, params))
    annotations = []
    for year in _YEARS:
        archives.write_zip(folder / f"{year}.zip", _members(images, year, params))
        content = archives.json_bytes(_annotations(images, year, params))
        annotations.append((f"annotations/captions_{year}.json", content))
    archives.write_zip(folder / "annotations_trainval2014.zip", annotations)
    splits = archives.json_bytes(_split(images, params))
    archives.write_zip(folder / "caption_datasets.zip", [("dataset_coco.json", splits)])


def image_id(part: str, index: int) -> int:
    """The number of an image, unique over all parts."""
    return 9 + _PARTS.index(part) + 4 * index


def _id(image: CaptionedImage) -> int:
    return image_id(image.part, image.index)


def _first_caption_id(image: CaptionedImage) -> int:
    """Id of the image's first caption, in the annotations and in Karpathy's file."""
    return 10 * _id(image)


def _year(image: CaptionedImage) -> str:
    return "train2014" if image.part == "train" else "val2014"


def _file_name(image: CaptionedImage) -> str:
    return f"COCO_{_year(image)}_{_id(image):012d}.jpg"


def _of_year(images: list[CaptionedImage], year: str) -> list[CaptionedImage]:
    return [image for image in images if _year(image) == year]


def _members(
    images: list[CaptionedImage], year: str, params: SyntheticParams
) -> Iterator[tuple[str, bytes]]:
    for image in sorted(_of_year(images, year), key=_file_name):
        jpeg = image.jpeg(params)
        if (image.part, image.index) == ("train", injected_faults.TRUNCATED):
            jpeg = injected_faults.truncated(jpeg)
        yield f"{year}/{_file_name(image)}", jpeg


def _annotations(
    images: list[CaptionedImage], year: str, params: SyntheticParams
) -> dict[str, Any]:
    """`captions_<year>.json`; `images` and `annotations` are in different orders."""
    images = _of_year(images, year)
    order = captioned_images.shuffled_indices(params, f"coco/{year}/images", len(images))
    captions = []
    for image in images:
        for number, caption in enumerate(image.captions, _first_caption_id(image)):
            captions.append({"image_id": _id(image), "id": number, "caption": caption})
    stream = f"coco/{year}/annotations"
    caption_order = captioned_images.shuffled_indices(params, stream, len(captions))
    return {
        "info": _INFO,
        "licenses": _LICENSES,
        "images": [_image_entry(images[index]) for index in order],
        "annotations": [captions[index] for index in caption_order],
    }


def _image_entry(image: CaptionedImage) -> dict[str, Any]:
    return {
        "license": 4,
        "file_name": _file_name(image),
        "id": _id(image),
        "height": image.scene.height,
        "width": image.scene.width,
        "date_captured": "2013-11-14 17:02:52",
        "coco_url": f"http://images.cocodataset.org/{_year(image)}/{_file_name(image)}",
        "flickr_url": f"http://farm1.staticflickr.com/1/{_id(image)}_o.jpg",
    }


def _split(images: list[CaptionedImage], params: SyntheticParams) -> dict[str, Any]:
    """`dataset_coco.json`."""
    entries = []
    order = captioned_images.shuffled_indices(params, "coco/karpathy", len(images))
    for imgid, index in enumerate(order):
        image = images[index]
        entry = captioned_images.karpathy_entry(image, imgid, _first_caption_id(image))
        entry |= {"filepath": _year(image), "filename": _file_name(image), "cocoid": _id(image)}
        entries.append(entry)
    return {"images": entries, "dataset": "coco"}


def _flawed(image: CaptionedImage, params: SyntheticParams) -> CaptionedImage:
    """The image with white space, line breaks and missing full stops in its captions, about as
    often as in the real file; one caption is empty."""
    rng = seeds.generator(params.seed, "blemishes", "coco", image.part, image.index)
    captions = [_flawed_caption(caption, rng) for caption in image.captions]
    if (image.part, image.index) == ("train", injected_faults.NO_CAPTION):
        captions[2] = ""
    return replace(image, captions=tuple(captions))


def _flawed_caption(caption: str, rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < 0.25:
        return caption.removesuffix(".")
    if draw < 0.36:
        return caption + " "
    if draw < 0.375:
        return caption.replace(" ", "  ", 1)
    return caption + "\n" if draw < 0.378 else caption
