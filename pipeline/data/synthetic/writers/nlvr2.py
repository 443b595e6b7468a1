"""NLVR2: `train.json`, `dev.json`, `test1.json` (JSON lines) and `train_img.zip`, `dev_img.zip`,
`test1_img.zip`.

A set is four pairs of images and two contrasting statements, each true of two of the pairs. Sizes
count sets: each gives eight examples and eight images. Scenes occur in several sets. Names end in
`.png` and most files are JPEG, as in the real one.
"""

from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.data.synthetic import archives, captioned_images, injected_faults
from pipeline.data.synthetic.language.statements import (
    ContrastingPair,
    ScenePool,
    contrasting_pair,
)
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render
from pipeline.data.synthetic.scenes.scene import Scene
from pipeline.utils import seeds

# name in the official files, by part
FILES = {"train": "train", "val": "dev", "test": "test1"}
PAIRS = 4  # of a set
_SCENES, _FEWEST = 2, 200  # scenes per set, and the fewest of a part
_FOLDERS = 100  # of the training images
_PNG_EVERY = 50  # every 50th scene is a real PNG


class ExampleSet(NamedTuple):
    """Contrasting statements, and the indices of the scenes of each pair; the first half of the
    pairs makes the first statement true."""

    statements: ContrastingPair
    pairs: tuple[tuple[int, int], ...]


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official files."""
    for part, name in FILES.items():
        scenes, part_sets = sets(params, part)
        (folder / f"{name}.json").write_bytes(b"".join(_lines(name, part_sets)))
        archives.write_zip(folder / f"{name}_img.zip", _images(name, scenes, part_sets, params))


def sets(params: SyntheticParams, part: str) -> tuple[list[Scene], list[ExampleSet]]:
    """The scenes and the sets of a part."""
    number = params.count("nlvr2", part)
    scene_indices = range(max(_SCENES * number, _FEWEST))
    scenes = [captioned_images.scene_at(params, "nlvr2", part, index) for index in scene_indices]
    pool = ScenePool(scenes, params.world)
    return scenes, [_draw_set(pool, params, part, index) for index in range(number)]


def _draw_set(pool: ScenePool, params: SyntheticParams, part: str, index: int) -> ExampleSet:
    """The first statements for which there are pairs of scenes."""
    rng = seeds.generator(params.seed, "nlvr2", part, index)
    simple = _is_simple(index, params.world.simple_statements)
    while True:
        statements = contrasting_pair(rng, params.world, simple=simple)
        pairs = _draw_pairs(pool, statements, rng)
        if len(pairs) == PAIRS:
            return ExampleSet(statements, tuple(pairs))


def _is_simple(index: int, share: float) -> bool:
    """Whether a set is simple, as a `share` of them is: the others are spread evenly."""
    others = 1 - share
    return int((index + 1) * others) == int(index * others)


def _draw_pairs(
    pool: ScenePool, statements: ContrastingPair, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Pairs of scenes, the first half for the first statement; fewer than PAIRS if some are not
    found."""
    pairs = []
    for true, false in (statements, statements[::-1]):
        for _ in range(PAIRS // 2):
            pair = pool.draw_pair(true, false, rng)
            if pair is not None:
                pairs.append(pair)
    return pairs


def _folder(name: str, number: int) -> str:
    """The folder of an image in the archive: only those of `train` are in numbered ones."""
    return f"images/train/{number % _FOLDERS}" if name == "train" else name


def _lines(name: str, part_sets: list[ExampleSet]) -> Iterator[bytes]:
    """One example a line; a line of `train` is cut off."""
    for number, example_set in enumerate(part_sets):
        for sentence, statement in enumerate(example_set.statements):
            for pair in range(PAIRS):
                label = (pair < PAIRS // 2) == (sentence == 0)
                example = _example(name, number, pair, sentence, statement.text, label)
                line = archives.json_bytes(example)
                identity = (name, number, sentence, pair)
                if identity == ("train", injected_faults.NO_CAPTION, 0, 0):
                    line = line[: len(line) // 2]
                yield line + b"\n"


def _example(
    name: str, number: int, pair: int, sentence: int, text: str, label: bool
) -> dict[str, Any]:
    """A record as in the official files, where all values are strings."""
    more: dict[str, Any] = {"extra_validations": {"3": str(label)}}
    if name == "train":
        more = {"directory": str(number % _FOLDERS)}
    url = f"https://pictures.example/{name}/{number}-{pair}"
    return {
        "validation": {"12": str(label)},
        "sentence": text,
        "left_url": f"{url}-0.jpg",
        "right_url": f"{url}-1.jpg",
        "writer": "12",
        "label": str(label),
        "synset": "toy",
        "query": f"some toys{number % 40}",
        "identifier": f"{name}-{number}-{pair}-{sentence}",
        **more,
    }


def _images(
    name: str, scenes: list[Scene], part_sets: list[ExampleSet], params: SyntheticParams
) -> Iterator[tuple[str, bytes]]:
    """Two images a pair; of `train` one is missing and one is cut off."""

    @cache
    def encoded(index: int) -> bytes:
        return _encoded(scenes[index], index, params.jpeg_quality)

    for number, example_set in enumerate(part_sets):
        for pair, indices in enumerate(example_set.pairs):
            for side, index in enumerate(indices):
                data, identity = encoded(index), (name, number, pair, side)
                if identity == ("train", injected_faults.TRUNCATED, 0, 0):
                    data = injected_faults.truncated(data)
                if identity != ("train", injected_faults.MISSING, 0, 1):
                    yield f"{_folder(name, number)}/{name}-{number}-{pair}-img{side}.png", data


def _encoded(scene: Scene, index: int, quality: int) -> bytes:
    """The scene as JPEG, or as PNG."""
    if index % _PNG_EVERY:
        return render.jpeg(scene, quality)
    buffer = BytesIO()
    render.render(scene).save(buffer, "PNG")
    return buffer.getvalue()
