"""ImageNet-22K, fall 2011: `fall11_whole.tar` of one tar per synset of flat JPEGs.

A class is a shape in a color, which dominates the picture; sizes of classes differ, as in the real
one.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from pipeline.data.synthetic import archives, injected_faults
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render, scene
from pipeline.errors import UserError
from pipeline.utils import seeds

_EVEN = 4  # the largest class has at most this many times the pictures of the smallest


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official file. Raises UserError when more classes are asked for than there are."""
    number, largest = params.count("imagenet22k", "classes"), params.count("imagenet22k", "largest")
    if number > len(classes()):
        raise UserError(
            f"params.yaml: synthetic.sizes.imagenet22k.classes: at most {len(classes())}, found {number}"
        )
    chosen = sorted(list(classes().items())[:number])
    archives.write_tar(
        folder / "fall11_whole.tar",
        (
            (f"{wnid}.tar", archives.tar_bytes(_pictures(wnid, kind, largest, params)))
            for wnid, kind in chosen
        ),
    )


def classes() -> dict[str, tuple[str, str]]:
    """Synset id -> (shape, color). Colors vary fastest, so that the first classes have every
    color."""
    kinds = product(scene.SHAPES, scene.COLORS)
    return {
        f"n{1_400_009 + 76_543 * number % 9_000_011:08d}": kind for number, kind in enumerate(kinds)
    }


def _pictures(
    wnid: str, kind: tuple[str, str], largest: int, params: SyntheticParams
) -> Iterator[tuple[str, bytes]]:
    """One class. The class sizes are uniform between a quarter of the largest and the largest."""
    size = int(
        seeds.generator(params.seed, "class size", wnid).integers(-(-largest // _EVEN), largest + 1)
    )
    for index in range(size):
        world = scene.sample(
            params.seed, f"imagenet22k/{wnid}", index, params.image_size, single=kind
        )
        picture = render.render(world)
        if kind == (scene.SHAPES[0], "black") and index == 1:
            picture = picture.convert("L")  # a few pictures of the real set are greyscale
        data = render.encode(picture, params.jpeg_quality)
        if kind == (scene.SHAPES[0], scene.COLORS[0]) and index == 0:
            data = injected_faults.truncated(data)
        yield f"{wnid}_{index + 1}.JPEG", data
