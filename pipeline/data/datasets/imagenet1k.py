"""ImageNet-1K (ILSVRC-2012): the training tar of one tar per synset, the flat validation tar, and
the devkit; or the folders `train` and `val`.

The classes of validation images are in the devkit, as ILSVRC2012_IDs. These are not the usual
labels: a label is the index of the class's synset id in sorted order. Where `val` has a folder for
each class, as `train` has, no devkit is needed.
"""

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from pipeline.data.datasets.formats import archives, imagenet_tars, json_stream, names, tars
from pipeline.data.datasets.formats.archives import Member
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.records import SPLITS, ImageRecord, Rejected
from pipeline.errors import UserError

KIND = "image"
_TRAIN = ("ILSVRC2012_img_train.tar", "train")
_VAL = ("ILSVRC2012_img_val.tar", "val")
_DEVKIT = ("ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_devkit_t12")
_META = "data/meta.mat"
_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
_NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})\.(?:jpe?g|png)", re.IGNORECASE)
_OFFICIAL = re.compile(r"ILSVRC2012_val_\d{8}\.JPEG")


@dataclass(frozen=True)
class _Devkit:
    labels: dict[str, int]  # by synset id
    validation: list[int]  # label of each validation image


class _ValidationImage(imagenet_tars.LabeledImage):
    """An image of the validation set."""


_Entry = imagenet_tars.Synset | imagenet_tars.LabeledImage | _ValidationImage


def files(root: Path, splits: Collection[str] = SPLITS) -> list[Path]:
    """The archives or all files of the folders, and the devkit, if it is there or needed."""
    paths = []
    for split, forms in (("train", _TRAIN), ("val", _VAL)):
        if split not in splits:
            continue
        path = json_stream.pick(root, *forms)
        listed = names.files_below(path) if path.is_dir() else [""]
        paths += [path / name for name in listed]
    devkit = _devkit_path(root)
    return [*paths, devkit] if devkit else paths


def entries(root: Path, splits: Collection[str] = SPLITS) -> Iterator[_Entry | Rejected]:
    """Training, then validation images, in the order of archives or names.

    Raises:
        UserError: the devkit is incomplete or contradicts itself.
    """
    devkit = _devkit(root, splits)
    if "train" in splits:
        yield from imagenet_tars.entries(json_stream.pick(root, *_TRAIN), devkit.labels)
    if "val" in splits:
        yield from _validation(json_stream.pick(root, *_VAL), devkit)


def counts(root: Path, sharded: Sharded, splits: Collection[str] = SPLITS) -> dict[str, int]:
    """Images, usable or not, and classes."""
    rejected = sharded.rejected_keys()
    rejected_val = sum(key.startswith(("ILSVRC2012_val", "val/")) for key in rejected)
    return {
        "train": sharded.rows("train") + len(rejected) - rejected_val,
        "val": sharded.rows("val") + rejected_val,
        "classes": len(_devkit(root, splits).labels),
    }


@contextmanager
def open_reader(
    root: Path, splits: Collection[str] = SPLITS
) -> Iterator[Callable[[_Entry], Iterator[ImageRecord | Rejected]]]:
    """Images; the key is the file name without its suffix, or the path of an image that is not
    called as ImageNet's."""

    def read(entry: _Entry) -> Iterator[ImageRecord | Rejected]:
        if isinstance(entry, _ValidationImage):
            yield imagenet_tars.image_record(entry, "val")
        else:
            yield from imagenet_tars.read(entry)

    yield read


def _validation(val: Path, devkit: _Devkit) -> Iterator[_ValidationImage | Rejected]:
    folders = _class_folders(val)
    for wnid, folder in folders.items():
        yield from _class_of_validation_images(wnid, folder, devkit.labels)
    if not folders:
        yield from _validation_images(val, devkit.validation)


def _class_folders(val: Path) -> dict[str, Path]:
    """The folders of classes that validation images are in; none where these are in a tar or a
    flat folder."""
    return imagenet_tars.synset_folders(val) if val.is_dir() else {}


def _class_of_validation_images(
    wnid: str, folder: Path, labels: dict[str, int]
) -> Iterator[_ValidationImage | Rejected]:
    if wnid not in labels:
        yield Rejected(f"val/{wnid}", "unknown synset")
        return
    for name in names.files_below(folder):
        key = names.image_key(name, _OFFICIAL, f"val/{wnid}")
        yield _ValidationImage(key, labels[wnid], archives.whole_file(folder / name))


def _validation_images(path: Path, labels: list[int]) -> Iterator[_ValidationImage | Rejected]:
    """`ILSVRC2012_val_00000001.JPEG` is on the first line of the ground truth."""
    missing = set(range(1, len(labels) + 1))
    for name, file in _files(path):
        key = names.image_key(name.rpartition("/")[2], _OFFICIAL, "val")
        match = _NUMBERED.fullmatch(name.rpartition("/")[2])
        number = int(match[1]) if match else 0
        if number in missing:
            missing.remove(number)
            yield _ValidationImage(key, labels[number - 1], file)
        else:
            yield Rejected(key, "no ground truth")
    for number in sorted(missing):
        yield Rejected(f"ILSVRC2012_val_{number:08d}", "missing image")


def _files(path: Path) -> Iterator[tuple[str, Member]]:
    """Name and content of the files in a folder or tar."""
    if not path.is_dir():
        yield from tars.in_tar(archives.whole_file(path))
        return
    for name in names.files_below(path):
        yield name, archives.whole_file(path / name)


def class_names(root: Path) -> list[str]:
    """Synset ids in the order of the labels, by the devkit in `root`.

    Raises:
        UserError: it is incomplete or contradicts itself.
    """
    return list(_devkit(root, ("val",)).labels)


def _devkit_path(root: Path) -> Path | None:
    """None where it is neither there nor needed. Raises FileNotFoundError."""
    try:
        return json_stream.pick(root, *_DEVKIT)
    except FileNotFoundError:
        if _class_folders(json_stream.pick(root, *_VAL)):
            return None
        raise


def _devkit(root: Path, splits: Collection[str]) -> _Devkit:
    """What the devkit says, or the names of the training classes; of the others where nothing is
    trained on."""
    path = _devkit_path(root)
    if path is None:
        forms = _TRAIN if "train" in splits else _VAL
        wnids = imagenet_tars.wnids(json_stream.pick(root, *forms))
        return _Devkit({wnid: label for label, wnid in enumerate(wnids)}, [])
    wnid_of = _classes(path, _member(path, _META))
    labels = {wnid: label for label, wnid in enumerate(sorted(wnid_of.values()))}
    validation = []
    for number, line in enumerate(_member(path, _TRUTH).decode("ascii", "replace").split(), 1):
        wnid = wnid_of.get(int(line)) if line.isdecimal() and len(line) < 20 else None
        if wnid is None:
            raise UserError(f"{path}: {_TRUTH}: line {number}: no class has the id {line[:100]}")
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
    if path.is_dir():
        return archives.whole_file(json_stream.pick(path, name)).read()
    for member, stream, size in tars.in_stream(path):
        if member.endswith(name) and stream is not None and size <= archives.LARGEST:
            return stream.read()
    raise UserError(f"{path}: no {name} in it")
