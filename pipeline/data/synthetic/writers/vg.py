"""Visual Genome: `images.zip` (VG_100K/), `images2.zip` (VG_100K_2/), image_data and
region_descriptions.

Every eighth image is also one of COCO's training images, whose id is its `coco_id`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.synthetic import archives, captioned_images, injected_faults
from pipeline.data.synthetic.language import caption_grammar, lexicon
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render
from pipeline.data.synthetic.scenes.scene import Scene
from pipeline.data.synthetic.world import World
from pipeline.data.synthetic.writers import coco
from pipeline.utils import seeds

_COCO_EVERY = 8
_REGIONS = (6, 11)  # fewest, most + 1
_ROOT = "https://cs.stanford.edu/people/rak248"


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official files."""
    scenes = [_scene(index, params) for index in range(params.count("vg", "train"))]
    archives.write_zip(folder / "images.zip", _images(scenes, "VG_100K", params))
    archives.write_zip(folder / "images2.zip", _images(scenes, "VG_100K_2", params))
    metadata, regions = [], []
    for index, scene in enumerate(scenes):
        metadata.append(_metadata(index, scene, params))
        regions.append(_regions(index, scene, params))
    _write_json(folder, "image_data.json", metadata)
    _write_json(folder, "region_descriptions.json", regions)


def _scene(index: int, params: SyntheticParams) -> Scene:
    if _is_coco(index, params):
        return captioned_images.scene_at(params, "coco", "train", index // _COCO_EVERY)
    return captioned_images.scene_at(params, "vg", "train", index)


def _is_coco(index: int, params: SyntheticParams) -> bool:
    return index % _COCO_EVERY == 0 and index // _COCO_EVERY < params.count("coco", "train")


def _write_json(folder: Path, name: str, value: Any) -> None:
    archives.write_zip(folder / f"{name}.zip", [(name, archives.json_bytes(value))])


def _image_id(index: int) -> int:
    return 2 + 3 * index


def _folder(index: int) -> str:
    """The folder of an image: two in five are in the second zip."""
    return "VG_100K_2" if index % 5 > 2 else "VG_100K"


def _images(
    scenes: list[Scene], folder: str, params: SyntheticParams
) -> Iterator[tuple[str, bytes]]:
    """The images of a zip; one is missing, and the first zip has one more without metadata."""
    for index, scene in enumerate(scenes):
        if _folder(index) == folder and index != injected_faults.MISSING:
            yield f"{folder}/{_image_id(index)}.jpg", render.jpeg(scene, params.jpeg_quality)
    if folder == "VG_100K":
        stray = captioned_images.scene_at(params, "vg", "train", len(scenes))
        yield f"{folder}/{_image_id(len(scenes))}.jpg", render.jpeg(stray, params.jpeg_quality)


def _metadata(index: int, scene: Scene, params: SyntheticParams) -> dict[str, Any]:
    is_coco = _is_coco(index, params)
    return {
        "width": scene.width,
        "url": f"{_ROOT}/{_folder(index)}/{_image_id(index)}.jpg",
        "height": scene.height,
        "image_id": _image_id(index),
        "flickr_id": None,
        "coco_id": coco.image_id("train", index // _COCO_EVERY) if is_coco else None,
    }


def _regions(index: int, scene: Scene, params: SyntheticParams) -> dict[str, Any]:
    rng = seeds.generator(params.seed, "regions", index)
    regions = []
    for number in range(int(rng.integers(*_REGIONS))):
        ids = {"region_id": 100 * index + 1 + number, "image_id": _image_id(index)}
        regions.append(ids | _region(scene, rng, params.world))
    return {"regions": regions, "id": _image_id(index)}


def _region(scene: Scene, rng: np.random.Generator, world: World) -> dict[str, Any]:
    """A phrase about a thing, or about the background, with its box in pixels."""
    if rng.random() < 0.1:
        _, phrase = caption_grammar.choose(rng, lexicon.BACKGROUNDS[scene.background], world.usual)
        box = (0, 0, scene.width, scene.height)
    else:
        index = int(rng.integers(len(scene.things)))
        phrase = caption_grammar.phrase(scene, index, rng, world)
        box = render.box(scene.things[index], scene)
    left, top, width, height = box
    return {"width": width, "height": height, "phrase": _careless(phrase, rng), "y": top, "x": left}


def _careless(phrase: str, rng: np.random.Generator) -> str:
    """Now and then with a blank at the end, a capital letter or a full stop."""
    draw = rng.random()
    if draw < 0.1:
        return phrase + " "
    if draw < 0.25:
        return phrase[0].upper() + phrase[1:] + "." * (draw < 0.15)
    return phrase
