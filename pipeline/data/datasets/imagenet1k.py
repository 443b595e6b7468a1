"""ImageNet-1K (ILSVRC-2012): the training tar of one tar per synset, the flat validation tar, and
the devkit.

The classes of validation images are in the devkit, as ILSVRC2012_IDs. These are not the usual
labels: a label is the index of the class's synset id in sorted order.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from pipeline.data.datasets.formats import archives, imagenet_tars, json_stream
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import ImageRecord, Rejected
from pipeline.errors import UserError

KIND = "image"
_TRAIN = "ILSVRC2012_img_train.tar"
_VAL = "ILSVRC2012_img_val.tar"
_DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
_META = "data/meta.mat"
_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"


@dataclass(frozen=True)
class _Devkit:
    labels: dict[str, int]  # by synset id
    validation: list[int]  # label of each validation image


class _ValidationImage(imagenet_tars.LabeledImage):
    """An image of the validation set."""


_Entry = imagenet_tars.Synset | imagenet_tars.LabeledImage | _ValidationImage


def files(root: Path) -> list[Path]:
    """Both archives of images and the devkit."""
    return [json_stream.pick(root, name) for name in (_TRAIN, _VAL, _DEVKIT)]


def entries(root: Path) -> Iterator[_Entry | Rejected]:
    """Training, then validation images, in archive order.

    Raises:
        UserError: the devkit is incomplete or contradicts itself.
    """
    train, val, devkit = files(root)
    known = _devkit(devkit)
    yield from imagenet_tars.entries(train, known.labels)
    yield from _validation_images(val, known.validation)


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Images, usable or not, and classes."""
    rejected = sharded.rejected_keys()
    rejected_val = sum(key.startswith("ILSVRC2012_val") for key in rejected)
    return {
        "train": sharded.rows("train") + len(rejected) - rejected_val,
        "val": sharded.rows("val") + rejected_val,
        "classes": len(_devkit(json_stream.pick(root, _DEVKIT)).labels),
    }


@contextmanager
def open_reader(root: Path) -> Iterator[Callable[[_Entry], Iterator[ImageRecord | Rejected]]]:
    """Images; the key is the file name without its suffix."""

    def read(entry: _Entry) -> Iterator[ImageRecord | Rejected]:
        if isinstance(entry, _ValidationImage):
            yield imagenet_tars.image_record(entry, "val")
        else:
            yield from imagenet_tars.read(entry)

    yield read


def _validation_images(path: Path, labels: list[int]) -> Iterator[_ValidationImage | Rejected]:
    """`ILSVRC2012_val_00000001.JPEG` is on the first line of the ground truth."""
    missing = set(range(1, len(labels) + 1))
    for name, file in archives.in_tar(archives.whole_file(path)):
        key = Path(name).stem
        digits = key.rpartition("_")[2]
        number = int(digits) if digits.isdecimal() else 0
        if number in missing:
            missing.remove(number)
            yield _ValidationImage(key, labels[number - 1], file)
        else:
            yield Rejected(key, "no ground truth")
    for number in sorted(missing):
        yield Rejected(f"ILSVRC2012_val_{number:08d}", "missing image")


def _devkit(path: Path) -> _Devkit:
    wnid_of = _classes(path, _member(path, _META))
    labels = {wnid: label for label, wnid in enumerate(sorted(wnid_of.values()))}
    validation = []
    for number, line in enumerate(_member(path, _TRUTH).decode("ascii", "replace").split(), 1):
        wnid = wnid_of.get(int(line)) if line.isdecimal() else None
        if wnid is None:
            raise UserError(f"{path}: {_TRUTH}: line {number}: no class has the id {line}")
        validation.append(labels[wnid])
    return _Devkit(labels, validation)


def _classes(path: Path, meta: bytes) -> dict[int, str]:
    """ILSVRC2012_ID -> synset id of the classes. Synsets that have children group classes and are
    none."""
    from scipy.io import loadmat

    try:
        table = np.atleast_1d(loadmat(BytesIO(meta), squeeze_me=True)["synsets"])
        classes = table[table["num_children"].astype(int) == 0]
        return dict(zip(map(int, classes["ILSVRC2012_ID"]), map(str, classes["WNID"]), strict=True))
    except Exception as error:  # noqa: BLE001  # scipy raises anything for damaged files
        raise UserError(f"{path}: {_META}: not the devkit's table of synsets: {error}") from None


def _member(path: Path, name: str) -> bytes:
    for member, stream in archives.in_stream(path):
        if member.name.endswith(name) and member.size <= archives.LARGEST:
            return stream.read()
    raise UserError(f"{path}: no {name} in it")
