"""ImageNet-1K (ILSVRC-2012): the training tar of tars, the flat validation tar, and the devkit with
the ground truth.

A class is a shape in a color, which ImageNet-22K has as well, or a shape with a texture, which it
has not. Validation images have combinations of attributes that no training image has. As in the
real set, the devkit's ids have another order than the synset ids, its table also holds a synset
that groups the classes, one "JPEG" is a PNG, and one is CMYK.
"""

import io
from collections.abc import Iterator, Mapping
from itertools import chain, count, islice, product, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.synthetic import archives, injected_faults
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render, scene
from pipeline.data.synthetic.world import World
from pipeline.data.synthetic.writers import imagenet22k
from pipeline.errors import UserError
from pipeline.utils import seeds

Look = tuple[str, str]  # shape, and a color or a texture
_STRIDE = 3  # between the first colors of two shapes

_ROOT = ("n00000002", "thing, toy")  # the synset above all classes
_FOLDER = "ILSVRC2012_devkit_t12/data"
_HEADER = b"MATLAB 5.0 MAT-file"  # in place of scipy's, which contains the time
_FIELDS = (
    "ILSVRC2012_ID",
    "WNID",
    "words",
    "gloss",
    "num_children",
    "children",
    "wordnet_height",
    "num_train_images",
)


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official files.

    Raises:
        UserError: more classes are asked for than there are.
    """
    known, number = classes(params.world), params.count("imagenet1k", "classes")
    if number > len(known):
        key = "synthetic.sizes.imagenet1k.classes"
        raise UserError(f"params.yaml: {key}: at most {len(known)}, found {number}")
    looks = dict(sorted(islice(known.items(), number)))
    archives.write_tar(folder / "ILSVRC2012_img_train.tar", _training_tars(looks, params))
    wnids = _validation_wnids(list(looks), params)
    validation = _validation_images(wnids, looks, params)
    archives.write_tar(folder / "ILSVRC2012_img_val.tar", validation)
    ids = _devkit_ids(list(looks), params)
    truth = "".join(f"{ids[wnid]}\n" for wnid in wnids)
    archives.write_tar_gz(
        folder / "ILSVRC2012_devkit_t12.tar.gz",
        [
            (f"{_FOLDER}/ILSVRC2012_validation_ground_truth.txt", truth.encode()),
            (f"{_FOLDER}/meta.mat", _meta(ids, looks, params)),
        ],
    )


def classes(world: World) -> dict[str, Look]:
    """Synset id -> shape and color or texture. The first half of the world's shapes have colors,
    the others textures, so that no thing belongs to two classes. Both alternate, so that the first
    classes have both."""
    wnid_of = {look: wnid for wnid, look in imagenet22k.classes(world).items()}
    half = len(world.shapes) // 2
    colored: list[tuple[str, Look]] = []
    for cycle, row in product(range(len(world.colors)), range(half)):
        color = world.colors[(_STRIDE * row + cycle) % len(world.colors)]
        look = world.shapes[row], color
        colored.append((wnid_of[look], look))
    textured: list[tuple[str, Look]] = []
    for number, (texture, shape) in enumerate(product(world.marked_textures, world.shapes[half:])):
        textured.append((f"n{4_399_382 + 61_543 * number:08d}", (shape, texture)))
    alternating = chain.from_iterable(zip_longest(colored, textured))
    return dict(entry for entry in alternating if entry)


def scenes(wnid: str, look: Look, part: str, params: SyntheticParams) -> Iterator[scene.Scene]:
    """Scenes of a class, without end, for the part `train` or `val`."""
    world, (shape, color_or_texture) = params.world, look
    for index in count():
        color = color_or_texture
        if color not in world.colors:
            color = world.colors[index % len(world.colors)]
        candidate = scene.sample(
            params.seed,
            f"imagenet1k/{part}/{wnid}",
            index,
            params.image_size,
            world,
            evaluation=part == "val",
            single=(shape, color),
        )
        if color_or_texture in (color, candidate.things[0].texture):
            yield candidate


def _devkit_ids(wnids: list[str], params: SyntheticParams) -> dict[str, int]:
    """ILSVRC2012_ID by synset id, from 1 in a random order."""
    order = seeds.generator(params.seed, "ILSVRC2012_ID").permutation(len(wnids))
    return dict(zip(wnids, (order + 1).tolist(), strict=True))


def _training_tars(
    looks: Mapping[str, Look], params: SyntheticParams
) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of the tar of each class. The first class has the injected faults."""
    first = min(looks, default="")
    for wnid, look in looks.items():
        images = _training_images(wnid, look, params, faulty=wnid == first)
        yield f"{wnid}.tar", archives.tar_bytes(images)


def _training_images(
    wnid: str, look: Look, params: SyntheticParams, *, faulty: bool
) -> Iterator[tuple[str, bytes]]:
    """The images of a class, three quarters to all of `train`."""
    largest = params.count("imagenet1k", "train")
    rng = seeds.generator(params.seed, "class size", "imagenet1k", wnid)
    size = int(rng.integers(-(-3 * largest // 4), largest + 1))
    for index, image_scene in enumerate(islice(scenes(wnid, look, "train", params), size)):
        if faulty:
            data = _faulty_image(image_scene, index, params.jpeg_quality)
        else:
            data = render.jpeg(image_scene, params.jpeg_quality)
        yield f"{wnid}_{index + 1}.JPEG", data


def _faulty_image(image_scene: scene.Scene, index: int, quality: int) -> bytes:
    """The first image truncated, the second a PNG, the third in CMYK, the others as they are."""
    if index == 0:
        return injected_faults.truncated(render.jpeg(image_scene, quality))
    if index == 1:
        buffer = io.BytesIO()
        render.render(image_scene).save(buffer, "PNG")
        return buffer.getvalue()
    if index == 2:
        return render.encode(render.render(image_scene).convert("CMYK"), quality)
    return render.jpeg(image_scene, quality)


def _validation_wnids(wnids: list[str], params: SyntheticParams) -> list[str]:
    """Synset id of each validation image in random order; every class has `val` of them."""
    repeated = np.repeat(wnids, params.count("imagenet1k", "val"))
    return seeds.generator(params.seed, "order", "imagenet1k").permutation(repeated).tolist()


def _validation_images(
    wnids: list[str], looks: Mapping[str, Look], params: SyntheticParams
) -> Iterator[tuple[str, bytes]]:
    scenes_of = {wnid: scenes(wnid, look, "val", params) for wnid, look in looks.items()}
    for number, wnid in enumerate(wnids, 1):
        image = render.jpeg(next(scenes_of[wnid]), params.jpeg_quality)
        yield f"ILSVRC2012_val_{number:08d}.JPEG", image


def _meta(ids: dict[str, int], looks: Mapping[str, Look], params: SyntheticParams) -> bytes:
    """The devkit's table of synsets as a MATLAB file, in the order of their ids."""
    from scipy.io import savemat

    train = params.count("imagenet1k", "train")
    rows: list[tuple[Any, ...]] = []
    for wnid, number in sorted(ids.items(), key=lambda item: item[1]):
        words, gloss = " ".join(reversed(looks[wnid])), "a class of the generated world"
        rows.append((number, wnid, words, gloss, 0, np.zeros(0), 0, train))
    children = np.arange(1, len(ids) + 1)
    rows.append((len(ids) + 1, *_ROOT, "all classes", len(ids), children, 1, 0))
    table = np.array(rows, dtype=[(name, object) for name in _FIELDS])[:, None]
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": table}, do_compression=True)
    return _HEADER.ljust(116) + buffer.getvalue()[116:]
