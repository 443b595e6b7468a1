"""ImageNet-1K (ILSVRC-2012): the training tar of one tar per synset, the flat validation tar, and
the devkit.

The validation pictures' classes are in the devkit, as ILSVRC2012_IDs. These are not the usual
labels: a label is the place of the class's synset id in sorted order.
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
    validation: list[int]  # label of each validation picture


class _Validation(imagenet_tars.Picture):
    """A picture of the validation set."""


def files(root: Path) -> list[Path]:
    """Both archives of pictures and the devkit."""
    return [json_stream.pick(root, name) for name in (_TRAIN, _VAL, _DEVKIT)]


def entries(root: Path) -> Iterator[imagenet_tars.Synset | _Validation | Rejected]:
    """Training, then validation pictures, in archive order.

    Raises:
        UserError: the devkit is incomplete or contradicts itself.
    """
    train, val, devkit = files(root)
    known = _devkit(devkit)
    yield from imagenet_tars.entries(train, known.labels)
    yield from _validation(val, known.validation)


def counts(root: Path, sharded: Sharded) -> dict[str, int]:
    """Pictures, usable or not, and classes."""
    bad = [key.startswith("ILSVRC2012_val") for key in sharded.rejected_keys()]
    return {
        "train": sharded.rows("train") + bad.count(False),
        "val": sharded.rows("val") + bad.count(True),
        "classes": len(_devkit(json_stream.pick(root, _DEVKIT)).labels),
    }


@contextmanager
def open_reader(
    root: Path,
) -> Iterator[Callable[[imagenet_tars.Synset | _Validation], Iterator[ImageRecord | Rejected]]]:
    """Pictures; the key is the file name without its ending."""

    def read(entry: imagenet_tars.Synset | _Validation) -> Iterator[ImageRecord | Rejected]:
        if isinstance(entry, _Validation):
            yield imagenet_tars.picture(entry, "val")
        else:
            yield from imagenet_tars.read(entry)

    yield read


def _validation(path: Path, labels: list[int]) -> Iterator[_Validation | Rejected]:
    """`ILSVRC2012_val_00000001.JPEG` is on the first line of the ground truth."""
    missing = set(range(1, len(labels) + 1))
    for name, place in archives.in_tar(archives.whole(path)):
        key = Path(name).stem
        digits = key.rpartition("_")[2]
        number = int(digits) if digits.isdecimal() else 0
        if number in missing:
            missing.remove(number)
            yield _Validation(key, labels[number - 1], place)
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
        return {
            int(row["ILSVRC2012_ID"]): str(row["WNID"])
            for row in table
            if int(row["num_children"]) == 0
        }
    except Exception as error:  # of damaged files, scipy raises anything
        raise UserError(f"{path}: {_META}: not the devkit's table of synsets: {error}") from None


def _member(path: Path, name: str) -> bytes:
    for member, stream in archives.in_stream(path):
        if member.name.endswith(name) and member.size <= archives.LARGEST:
            return stream.read()
    raise UserError(f"{path}: no {name} in it")
