"""NLVR2: `train.json`, `dev.json`, `test1.json` (JSON lines) and `train_img.zip`, `dev_img.zip`,
`test1_img.zip`.

A set is four pairs of pictures and two rival statements, each true of two of the pairs. Sizes count
sets: of each come eight examples and eight pictures. Scenes occur in several sets. Names end in
`.png` and most files are JPEG, as in the real one.
"""

from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.data.synthetic import archives, captioned_images, injected_faults
from pipeline.data.synthetic.language.statements import Pool, Rivals, rivals
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render
from pipeline.data.synthetic.scenes.scene import Scene
from pipeline.utils import seeds

FILES = {
    "train": "train",
    "val": "dev",
    "test": "test1",
}  # part of the world, and its name in the official files
PAIRS = 4  # of a set
_SCENES, _FEWEST = 2, 200  # scenes per set, and the fewest of a part
_FOLDERS = 100  # of the training pictures
_PNG_EVERY = 50  # one scene in so many is a real PNG


class Set(NamedTuple):
    """Rival statements, and the numbers of the scenes of each pair; the first half makes the first
    statement true."""

    statements: Rivals
    pairs: tuple[tuple[int, int], ...]


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official files."""
    for part, name in FILES.items():
        scenes, chosen = sets(params, part)
        lines = b"".join(_lines(name, chosen))
        (folder / f"{name}.json").write_bytes(lines)
        archives.write_zip(folder / f"{name}_img.zip", _pictures(name, scenes, chosen, params))


def sets(params: SyntheticParams, part: str) -> tuple[list[Scene], list[Set]]:
    """The scenes and the sets of a part. Three sets of four are simple."""
    number = params.count("nlvr2", part)
    scenes = [
        captioned_images.scene_at(params, "nlvr2", part, index)
        for index in range(max(_SCENES * number, _FEWEST))
    ]
    pool = Pool(scenes)
    return scenes, [_set(pool, params.seed, part, index) for index in range(number)]


def _set(pool: Pool, seed: int, part: str, index: int) -> Set:
    """The first rivals that the scenes allow."""
    rng = seeds.generator(seed, "nlvr2", part, index)
    while True:
        statements = rivals(rng, simple=index % 4 != 3)
        pairs = [
            pool.pair(*order, rng)
            for order in (statements, statements[::-1])
            for _ in range(PAIRS // 2)
        ]
        if None not in pairs:
            return Set(statements, tuple(pairs))


def _folder(name: str, number: int) -> str:
    """The pictures' folder in the archive: only those of `train` are in numbered ones."""
    return f"images/train/{number % _FOLDERS}" if name == "train" else name


def _lines(name: str, chosen: list[Set]) -> Iterator[bytes]:
    """One example a line; a line of `train` is cut off."""
    for number, one in enumerate(chosen):
        for sentence, statement in enumerate(one.statements):
            for pair in range(PAIRS):
                label = (pair < PAIRS // 2) == (sentence == 0)
                line = archives.json_bytes(
                    _example(name, number, pair, sentence, statement.text, label)
                )
                damaged = (name, number, sentence, pair) == (
                    "train",
                    injected_faults.NO_CAPTION,
                    0,
                    0,
                )
                yield (line[: len(line) // 2] if damaged else line) + b"\n"


def _example(
    name: str, number: int, pair: int, sentence: int, text: str, label: bool
) -> dict[str, Any]:
    """A record as the official files have it; only there are all values strings."""
    more = (
        {"directory": str(number % _FOLDERS)}
        if name == "train"
        else {"extra_validations": {"3": str(label)}}
    )
    urls = {
        f"{side}_url": f"https://pictures.example/{name}/{number}-{pair}-{place}.jpg"
        for place, side in enumerate(("left", "right"))
    }
    return {
        "validation": {"12": str(label)},
        "sentence": text,
        **urls,
        "writer": "12",
        "label": str(label),
        "synset": "toy",
        "query": f"some toys{number % 40}",
        "identifier": f"{name}-{number}-{pair}-{sentence}",
        **more,
    }


def _pictures(
    name: str, scenes: list[Scene], chosen: list[Set], params: SyntheticParams
) -> Iterator[tuple[str, bytes]]:
    """Two pictures a pair; of `train` one is missing and one is cut off."""
    encoded = lru_cache(maxsize=None)(
        lambda scene: _encoded(scenes[scene], scene, params.jpeg_quality)
    )
    for number, one in enumerate(chosen):
        for pair, pictures in enumerate(one.pairs):
            for place, scene in enumerate(pictures):
                data, spot = encoded(scene), (name, number, pair, place)
                if spot == ("train", injected_faults.TRUNCATED, 0, 0):
                    data = injected_faults.truncated(data)
                if spot != ("train", injected_faults.MISSING, 0, 1):
                    yield f"{_folder(name, number)}/{name}-{number}-{pair}-img{place}.png", data


def _encoded(scene: Scene, number: int, quality: int) -> bytes:
    if number % _PNG_EVERY:
        return render.jpeg(scene, quality)
    buffer = BytesIO()
    render.render(scene).save(buffer, "PNG")
    return buffer.getvalue()
