"""ADE20K scene parsing: `ADEChallengeData2016.zip` with pictures, masks and the two lists.

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
    areas: dict[str, list[np.ndarray]] = {
        part: [] for part in _PARTS
    }  # of each class in each picture
    categories = []
    for part, where in _PARTS.items():
        for index in range(params.count("ade20k", part)):
            scene, key = (
                captioned_images.scene_at(params, "ade20k", part, index),
                f"ADE_{part}_{index + 1:08d}",
            )
            mask = masks.mask(scene)
            yield f"{_ROOT}/images/{where}/{key}.jpg", _picture(scene, part, index, params)
            if (part, index) != ("train", injected_faults.MISSING):
                yield f"{_ROOT}/annotations/{where}/{key}.png", _png(mask)
            areas[part].append(
                np.bincount(np.asarray(mask).ravel(), minlength=len(masks.CLASSES) + 1)[1:]
            )
            categories.append(f"{key} {scene.background}\n")
    yield f"{_ROOT}/objectInfo150.txt", _object_info(areas).encode()
    yield f"{_ROOT}/sceneCategories.txt", "".join(categories).encode()


def _picture(scene: Scene, part: str, index: int, params: SyntheticParams) -> bytes:
    data = render.jpeg(scene, params.jpeg_quality)
    return (
        injected_faults.truncated(data)
        if (part, index) == ("train", injected_faults.TRUNCATED)
        else data
    )


def _png(mask: Image.Image) -> bytes:
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return buffer.getvalue()


def _object_info(areas: dict[str, list[np.ndarray]]) -> str:
    """A row per class: its share of the labelled pixels, and how many pictures of each part show
    it."""
    total = np.sum([area for part in areas.values() for area in part], axis=0)
    shown = [np.sum([area > 0 for area in areas[part]], axis=0) for part in _PARTS]
    lines = ["Idx\tRatio\tTrain\tVal\tName"]
    for number, name in enumerate(masks.CLASSES):
        ratio = total[number] / total.sum()
        lines.append(f"{number + 1}\t{ratio:.4f}\t{shown[0][number]}\t{shown[1][number]}\t{name}")
    return "\n".join(lines) + "\n"
