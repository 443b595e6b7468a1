"""ImageNet-22K, fall 2011: `fall11_whole.tar` of one tar per synset of flat JPEGs.

A class is a shape in a color, which dominates the image; classes differ in size, as in the real
one.
"""

from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

from pipeline.data.synthetic import archives, injected_faults
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render, scene
from pipeline.data.synthetic.world import World
from pipeline.errors import UserError
from pipeline.utils import seeds

_LARGEST_RATIO = 4  # of the sizes of two classes


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official file.

    Raises:
        UserError: more classes are asked for than there are.
    """
    number, largest = params.count("imagenet22k", "classes"), params.count("imagenet22k", "largest")
    if number > len(classes(params.world)):
        key = "synthetic.sizes.imagenet22k.classes"
        raise UserError(f"params.yaml: {key}: at most {len(classes(params.world))}, found {number}")
    archives.write_tar(folder / "fall11_whole.tar", _tars(number, largest, params))


def classes(world: World) -> dict[str, tuple[str, str]]:
    """Synset id -> (shape, color). Colors vary fastest, so that the first classes have every
    color."""
    by_wnid = {}
    for number, shape_and_color in enumerate(product(world.shapes, world.colors)):
        by_wnid[f"n{1_400_009 + 76_543 * number % 9_000_011:08d}"] = shape_and_color
    return by_wnid


def _tars(number: int, largest: int, params: SyntheticParams) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of the tar of each class."""
    for wnid, shape_and_color in sorted(islice(classes(params.world).items(), number)):
        images = _images(wnid, shape_and_color, largest, params)
        yield f"{wnid}.tar", archives.tar_bytes(images)


def _images(
    wnid: str, shape_and_color: tuple[str, str], largest: int, params: SyntheticParams
) -> Iterator[tuple[str, bytes]]:
    """The images of a class, of a quarter to all of `largest`, uniformly drawn."""
    rng = seeds.generator(params.seed, "class size", wnid)
    size = int(rng.integers(-(-largest // _LARGEST_RATIO), largest + 1))
    world = params.world
    for index in range(size):
        single = scene.sample(
            params.seed,
            f"imagenet22k/{wnid}",
            index,
            params.image_size,
            world,
            single=shape_and_color,
        )
        image = render.render(single)
        if shape_and_color == (world.shapes[0], world.colors[-1]) and index == 1:
            image = image.convert("L")  # a few images of the real set are in shades of gray
        data = render.encode(image, params.jpeg_quality)
        if shape_and_color == (world.shapes[0], world.colors[0]) and index == 0:
            data = injected_faults.truncated(data)
        yield f"{wnid}_{index + 1}.JPEG", data
