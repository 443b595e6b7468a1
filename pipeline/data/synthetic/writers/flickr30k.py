"""Flickr30k: `flickr30k-images.tar.gz` and Karpathy's `caption_datasets.zip` with
`dataset_flickr30k.json`.

Exactly five captions a picture. Some pictures of the archive are in no split.
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.data.synthetic import archives, captioned_images, injected_faults
from pipeline.data.synthetic.captioned_images import Item
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render

_PARTS = ("train", "val", "test")


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official files."""
    items = [item for part in _PARTS for item in captioned_images.items(params, "flickr30k", part)]
    items = [items[number] for number in captioned_images.shuffled(params, "flickr30k", len(items))]
    archives.write_tar_gz(folder / "flickr30k-images.tar.gz", _pictures(items, params))
    entries = [
        captioned_images.karpathy(_damaged(item), imgid, 5 * imgid)
        | {"filename": f"{_number(item.part, item.index)}.jpg"}
        for imgid, item in enumerate(items)
    ]
    content = archives.json_bytes({"images": entries, "dataset": "flickr30k"})
    archives.write_zip(folder / "caption_datasets.zip", [("dataset_flickr30k.json", content)])


def _pictures(items: list[Item], params: SyntheticParams) -> Iterator[tuple[str, bytes]]:
    scenes = {
        _number(item.part, item.index): item.scene
        for item in items
        if (item.part, item.index) != ("train", injected_faults.MISSING)
    }
    for index in range(params.count("flickr30k", "unsplit")):
        scenes[_number("unsplit", index)] = captioned_images.scene_at(
            params, "flickr30k", "unsplit", index
        )
    for number in sorted(scenes):
        yield f"flickr30k-images/{number}.jpg", render.jpeg(scenes[number], params.jpeg_quality)


def _number(part: str, index: int) -> int:
    """Photo numbers of ten digits, unique and in no order."""
    place = [*_PARTS, "unsplit"].index(part) * 1_000_000 + index
    return 1_000_000_007 + place * 1_618_033_989 % 4_000_000_007


def _damaged(item: Item) -> Item:
    if (item.part, item.index) != ("train", injected_faults.NO_CAPTION):
        return item
    return Item(item.part, item.index, item.scene, (*item.captions[:-1], " "))
