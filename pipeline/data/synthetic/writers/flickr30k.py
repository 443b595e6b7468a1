"""Flickr30k: `flickr30k-images.tar.gz` and Karpathy's `caption_datasets.zip` with
`dataset_flickr30k.json`.

Every image has exactly five captions. Some images of the archive are in no split.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.data.synthetic import archives, captioned_images, injected_faults
from pipeline.data.synthetic.captioned_images import CaptionedImage
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render

_PARTS = ("train", "val", "test")


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official files."""
    images = _images(params)
    archives.write_tar_gz(folder / "flickr30k-images.tar.gz", _members(images, params))
    entries = []
    for imgid, image in enumerate(images):
        entry = captioned_images.karpathy_entry(_damaged(image), imgid, 5 * imgid)
        entries.append(entry | {"filename": f"{_number(image.part, image.index)}.jpg"})
    content = archives.json_bytes({"images": entries, "dataset": "flickr30k"})
    archives.write_zip(folder / "caption_datasets.zip", [("dataset_flickr30k.json", content)])


def _images(params: SyntheticParams) -> list[CaptionedImage]:
    """The images of all splits, shuffled."""
    images: list[CaptionedImage] = []
    for part in _PARTS:
        images += captioned_images.captioned_images(params, "flickr30k", part)
    order = captioned_images.shuffled_indices(params, "flickr30k", len(images))
    return [images[index] for index in order]


def _members(images: list[CaptionedImage], params: SyntheticParams) -> Iterator[tuple[str, bytes]]:
    scenes = {}
    for image in images:
        if (image.part, image.index) != ("train", injected_faults.MISSING):
            scenes[_number(image.part, image.index)] = image.scene
    for index in range(params.count("flickr30k", "unsplit")):
        scene = captioned_images.scene_at(params, "flickr30k", "unsplit", index)
        scenes[_number("unsplit", index)] = scene
    for number in sorted(scenes):
        yield f"flickr30k-images/{number}.jpg", render.jpeg(scenes[number], params.jpeg_quality)


def _number(part: str, index: int) -> int:
    """The ten-digit number of a photograph, unique and in no order."""
    position = [*_PARTS, "unsplit"].index(part) * 1_000_000 + index
    return 1_000_000_007 + position * 1_618_033_989 % 4_000_000_007


def _damaged(image: CaptionedImage) -> CaptionedImage:
    """The image, its last caption blank if it is the one with this fault."""
    if (image.part, image.index) != ("train", injected_faults.NO_CAPTION):
        return image
    return replace(image, captions=(*image.captions[:-1], " "))
