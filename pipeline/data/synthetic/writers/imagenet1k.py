"""ImageNet-1K (ILSVRC-2012): the training tar of tars, the flat validation tar, and the devkit with
the ground truth.

A class is a shape in a color, which ImageNet-22K has as well, or a shape with a texture, which it
has not. Validation pictures show held-out combinations only. As in the real set, the devkit's ids
have another order than the synset ids, its table also holds a synset that groups the classes, one
"JPEG" is a PNG, and one is CMYK.
"""

import io
from collections.abc import Iterator
from functools import partial
from itertools import chain, count, islice
from pathlib import Path

import numpy as np

from pipeline.data.synthetic import archives, injected_faults
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render, scene
from pipeline.data.synthetic.writers import imagenet22k
from pipeline.errors import UserError
from pipeline.utils import seeds

Kind = tuple[str, str]  # shape, and a color or a texture

_COLORED, _TEXTURED = (
    scene.SHAPES[:5],
    scene.SHAPES[5:],
)  # apart, so that no thing is of two classes
_LOOKS = 3  # classes of each shape
_ROOT = ("n00000002", "thing, toy")  # the synset above all classes
_FOLDER = "ILSVRC2012_devkit_t12/data"
_HEADER = b"MATLAB 5.0 MAT-file"  # in place of scipy's, which tells the time
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
    """Write the official files. Raises UserError when more classes are asked for than there are."""
    number = params.count("imagenet1k", "classes")
    if number > len(classes()):
        raise UserError(
            f"params.yaml: synthetic.sizes.imagenet1k.classes: at most {len(classes())}, found {number}"
        )
    chosen = dict(islice(classes().items(), number))
    order = seeds.generator(params.seed, "ILSVRC2012_ID").permutation(number)
    ids = {wnid: int(place) + 1 for wnid, place in zip(sorted(chosen), order, strict=True)}
    archives.write_tar(
        folder / "ILSVRC2012_img_train.tar",
        (
            (
                f"{wnid}.tar",
                archives.tar_bytes(_training(wnid, chosen[wnid], wnid == min(chosen), params)),
            )
            for wnid in sorted(chosen)
        ),
    )
    truth = _truth(sorted(chosen), params)
    archives.write_tar(folder / "ILSVRC2012_img_val.tar", _validation(truth, chosen, params))
    archives.write_tar_gz(
        folder / "ILSVRC2012_devkit_t12.tar.gz",
        [
            (
                f"{_FOLDER}/ILSVRC2012_validation_ground_truth.txt",
                "".join(f"{ids[wnid]}\n" for wnid in truth).encode(),
            ),
            (f"{_FOLDER}/meta.mat", _meta(ids, chosen, params)),
        ],
    )


def classes() -> dict[str, Kind]:
    """Synset id -> shape and look. Colors and textures alternate, so that the first classes have
    both."""
    known = {kind: wnid for wnid, kind in imagenet22k.classes().items()}
    colored = [
        (shape, scene.COLORS[(_LOOKS * row + look) % len(scene.COLORS)])
        for look in range(_LOOKS)
        for row, shape in enumerate(_COLORED)
    ]
    textured = [(shape, scene.TEXTURES[1 + look]) for look in range(_LOOKS) for shape in _TEXTURED]
    pairs = zip(
        ((known[kind], kind) for kind in colored),
        ((f"n{4_399_382 + 61_543 * number:08d}", kind) for number, kind in enumerate(textured)),
        strict=True,
    )
    return dict(chain.from_iterable(pairs))


def scenes(wnid: str, kind: Kind, part: str, params: SyntheticParams) -> Iterator[scene.Scene]:
    """Endless scenes of a class, for the part `train` or `val`."""
    shape, look = kind
    for index in count():
        color = look if look in scene.COLORS else scene.COLORS[index % len(scene.COLORS)]
        world = scene.sample(
            params.seed,
            f"imagenet1k/{part}/{wnid}",
            index,
            params.image_size,
            evaluation=part == "val",
            single=(shape, color),
        )
        if look in (color, world.things[0].texture):
            yield world


def _training(
    wnid: str, kind: Kind, first: bool, params: SyntheticParams
) -> Iterator[tuple[str, bytes]]:
    """One class, of three quarters to all of `train` pictures; the first class has the oddities."""
    largest = params.count("imagenet1k", "train")
    rng = seeds.generator(params.seed, "class size", "imagenet1k", wnid)
    size = int(rng.integers(-(-3 * largest // 4), largest + 1))
    jpeg = partial(render.jpeg, quality=params.jpeg_quality)
    oddities = {
        0: lambda world: injected_faults.truncated(jpeg(world)),
        1: _png,
        2: partial(_cmyk, quality=params.jpeg_quality),
    }
    for index, world in enumerate(islice(scenes(wnid, kind, "train", params), size)):
        encode = oddities.get(index, jpeg) if first else jpeg
        yield f"{wnid}_{index + 1}.JPEG", encode(world)


def _truth(wnids: list[str], params: SyntheticParams) -> list[str]:
    """The class of each validation picture, mixed; every class has `val` of them."""
    pictures = np.repeat(wnids, params.count("imagenet1k", "val"))
    return seeds.generator(params.seed, "order", "imagenet1k").permutation(pictures).tolist()


def _validation(
    truth: list[str], chosen: dict[str, Kind], params: SyntheticParams
) -> Iterator[tuple[str, bytes]]:
    streams = {wnid: scenes(wnid, kind, "val", params) for wnid, kind in chosen.items()}
    for number, wnid in enumerate(truth, 1):
        yield (
            f"ILSVRC2012_val_{number:08d}.JPEG",
            render.jpeg(next(streams[wnid]), params.jpeg_quality),
        )


def _meta(ids: dict[str, int], chosen: dict[str, Kind], params: SyntheticParams) -> bytes:
    """The devkit's table of synsets, in the order of their ids."""
    from scipy.io import savemat

    train = params.count("imagenet1k", "train")
    rows = [
        (
            number,
            wnid,
            " ".join(reversed(chosen[wnid])),
            "a class of the generated world",
            0,
            np.zeros(0),
            0,
            train,
        )
        for wnid, number in sorted(ids.items(), key=lambda item: item[1])
    ]
    children = np.arange(1, len(ids) + 1)
    rows.append((len(ids) + 1, *_ROOT, "all classes", len(ids), children, 1, 0))
    table = np.array(rows, dtype=[(name, object) for name in _FIELDS])[:, None]
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": table}, do_compression=True)
    return _HEADER.ljust(116) + buffer.getvalue()[116:]


def _png(world: scene.Scene) -> bytes:
    buffer = io.BytesIO()
    render.render(world).save(buffer, "PNG")
    return buffer.getvalue()


def _cmyk(world: scene.Scene, quality: int) -> bytes:
    return render.encode(render.render(world).convert("CMYK"), quality)
