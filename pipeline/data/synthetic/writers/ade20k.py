"""ADE20K scene parsing: `ADEChallengeData2016.zip` with images, masks and the two lists.

Classes are the shapes of things and the backgrounds, fewer than the real 150.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.data.synthetic import archives, captioned_images, injected_faults
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import masks, render
from pipeline.data.synthetic.scenes.scene import Scene

_PARTS = {"train": "training", "val": "validation"}
_ROOT = "ADEChallengeData2016"


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official file."""
    archives.write_zip(folder / f"{_ROOT}.zip", _members(params))


def _members(params: SyntheticParams) -> Iterator[tuple[str, bytes]]:
    classes = masks.classes(params.world)
    # pixels of each class in each image, by part
    areas: dict[str, list[np.ndarray]] = {}
    categories = []
    for part, folder in _PARTS.items():
        areas[part] = []
        for index in range(params.count("ade20k", part)):
            scene = captioned_images.scene_at(params, "ade20k", part, index)
            key = f"ADE_{part}_{index + 1:08d}"
            mask = masks.mask(scene, params.world)
            yield f"{_ROOT}/images/{folder}/{key}.jpg", _image(scene, part, index, params)
            if (part, index) != ("train", injected_faults.MISSING):
                yield f"{_ROOT}/annotations/{folder}/{key}.png", _png(mask)
            area = np.bincount(np.asarray(mask).ravel(), minlength=len(classes) + 1)
            areas[part].append(area[1:])
            categories.append(f"{key} {scene.background}\n")
    yield f"{_ROOT}/objectInfo150.txt", _object_info(areas, classes).encode()
    yield f"{_ROOT}/sceneCategories.txt", "".join(categories).encode()


def _image(scene: Scene, part: str, index: int, params: SyntheticParams) -> bytes:
    jpeg = render.jpeg(scene, params.jpeg_quality)
    is_faulty = (part, index) == ("train", injected_faults.TRUNCATED)
    return injected_faults.truncated(jpeg) if is_faulty else jpeg


def _png(mask: Image.Image) -> bytes:
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


def _object_info(areas: dict[str, list[np.ndarray]], classes: tuple[str, ...]) -> str:
    """A row per class: its share of the labeled pixels, and how many images of each part show
    it."""
    tables = {part: np.reshape(rows, (-1, len(classes))) for part, rows in areas.items()}
    total = np.concatenate(list(tables.values())).sum(axis=0)
    train, val = (np.sum(tables[part] > 0, axis=0) for part in _PARTS)
    lines = ["Idx\tRatio\tTrain\tVal\tName"]
    for number, name in enumerate(classes):
        ratio = total[number] / max(total.sum(), 1)
        lines.append(f"{number + 1}\t{ratio:.4f}\t{train[number]}\t{val[number]}\t{name}")
    return "\n".join(lines) + "\n"
