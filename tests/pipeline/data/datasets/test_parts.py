"""Parts of data sets: the evaluation's records from the evaluation's files alone."""

import json
import tarfile
from pathlib import Path

import pytest

from pipeline.data import datasets
from pipeline.data.datasets import facts
from pipeline.data.datasets.shard_counts import Sharded
from pipeline.data.download import manifest
from pipeline.data.records import Record, Rejected
from pipeline.data.sharding import build, coverage, decontamination, record_reader
from pipeline.data.sharding.build import PartShardParams
from pipeline.data.synthetic import generate
from pipeline.data.transforms import images
from pipeline.errors import UserError
from tests.helpers import official_forms, tiny
from tests.helpers.image_files import encoded, exif, scene
from tests.helpers.official import SYNTHETIC
from tests.pipeline.data.transforms.test_image_validation import apart

SPLITS = {
    "coco-test": ["test"],
    "flickr30k-test": ["test"],
    "vqav2-test": ["val", "test"],
    "nlvr2-test": ["val", "test"],
    "imagenet1k-test": ["val"],
    "ade20k-test": ["val"],
}
PARAMS = PartShardParams(
    rows_per_group=4, groups_per_file=2, val_fraction=0.0, max_side=0, as_stored=True
)
HIDDEN = "v2_Annotations_Test_mscoco.zip"  # answers that only generated files have


@pytest.fixture(params=SPLITS)
def part(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def root(part: str, tmp_path: Path) -> Path:
    """The official files of the part's whole data set."""
    generate.write(facts.whole(part), tmp_path, SYNTHETIC)
    return tmp_path


def file_names(part: str) -> set[str]:
    return {file.name for file in manifest.read(part).files}


def records(name: str, root: Path) -> list[Record | Rejected]:
    return list(record_reader.read(name, root))


def test_a_part_has_the_records_of_its_splits_without_the_files_of_others(
    part: str, root: Path
) -> None:
    wanted = []
    for record in records(facts.whole(part), root):
        if not isinstance(record, Rejected) and record.split in SPLITS[part]:
            wanted.append(record)
    for path in root.iterdir():
        if path.name not in {*file_names(part), HIDDEN}:
            path.unlink()
    found = [record for record in records(part, root) if not is_in_no_split(record)]
    assert wanted and strip_names(found) == strip_names(wanted)


def is_in_no_split(record: Record | Rejected) -> bool:
    """Of Flickr30K's images, which are in one archive."""
    return isinstance(record, Rejected) and record.reason == "in no split"


def strip_names(found: list) -> list:
    """Without names in other data sets, by which only training images are left out."""
    return [{**vars(record), "names": ()} for record in found]


def test_what_is_generated_of_a_part_is_no_more_than_that(part: str, tmp_path: Path) -> None:
    whole, alone = tmp_path / "whole", tmp_path / "alone"
    for name, folder in ((facts.whole(part), whole), (part, alone)):
        folder.mkdir()
        generate.write(name, folder, SYNTHETIC)
    assert {path.name for path in alone.iterdir()} - {HIDDEN} == file_names(part)
    found = records(part, alone)
    assert found and not [record for record in found if isinstance(record, Rejected)]
    assert {record.split for record in found} == set(SPLITS[part])
    assert {record.key for record in found} <= {record.key for record in records(part, whole)}


def test_each_file_of_a_part_is_needed_and_named_where_it_is_missing(part: str, root: Path) -> None:
    for name in file_names(part):
        (root / name).rename(root / "elsewhere")
        with pytest.raises(FileNotFoundError, match=name.partition(".")[0]):
            datasets.load(part).files(root)
        (root / "elsewhere").rename(root / name)
    assert {path.name for path in datasets.load(part).files(root)} - {HIDDEN} == file_names(part)


def test_official_counts_of_the_parts() -> None:
    assert {part: dict(facts.read(part).exact) for part in SPLITS} == {
        "coco-test": {"test": 5000, "captions": 25010, "missing images": 0},
        "flickr30k-test": {"test": 1000, "captions": 5000, "missing images": 0},
        "vqav2-test": {
            "val questions": 214_354,
            "test questions": 447_793,
            "test-dev questions": 107_394,
            "questions without ten answers": 0,
            "missing images": 0,
        },
        "nlvr2-test": {"dev": 6982, "test1": 6967, "missing images": 0},
        "imagenet1k-test": {"val": 50_000, "classes": 1000},
        "ade20k-test": {"val": 2000, "masks with other classes": 0},
    }


def test_a_part_has_the_terms_of_its_data_set_and_no_say_in_pretraining(part: str) -> None:
    known, whole = facts.read(part), facts.read(facts.whole(part))
    assert known.license == whole.license
    assert known.plan.tested == whole.plan.tested
    assert not coverage.applies(part) and not decontamination.has_evaluation_images(part)
    assert build.params_class(part) is PartShardParams


def test_every_part_is_a_data_set() -> None:
    assert set(tiny.PARTS) == SPLITS.keys() == {name for name in datasets.names() if "-" in name}
    for name in ("coco-moon", "moon-test", "weights-test"):
        with pytest.raises(UserError, match=f"unknown source '{name}' .known: .* coco-test, "):
            datasets.load(name)
    with pytest.raises(UserError, match=r"coco.yaml: no coco-moon among its parts"):
        facts.read("coco-moon")


def test_annotations_that_tell_no_more_than_names_are_not_opened(tmp_path: Path) -> None:
    generate.write("coco-test", tmp_path, SYNTHETIC)
    (tmp_path / "annotations_trainval2014.zip").write_bytes(b"damaged")
    assert len(records("coco-test", tmp_path)) == SYNTHETIC.sizes["coco-test"]["test"]
    assert len(datasets.load("coco-test").files(tmp_path)) == 2


def test_validation_images_in_class_folders_need_neither_devkit_nor_training_images(
    tmp_path: Path,
) -> None:
    for number, wnid in enumerate(("n00000003", "n00000001", "n00000002")):
        folder = tmp_path / "val" / wnid
        folder.mkdir(parents=True)
        name = f"ILSVRC2012_val_{number + 1:08d}.JPEG"
        (folder / name).write_bytes(official_forms.jpeg())
    labels = {record.key[-1]: record.label for record in records("imagenet1k-test", tmp_path)}
    assert labels == {"1": 2, "2": 0, "3": 1}


def test_images_of_a_part_are_seen_as_the_file_stores_them(tmp_path: Path) -> None:
    """An image with an EXIF turn and one whose transparent half hides black."""
    turned = encoded(scene(), "JPEG", exif=exif(6))
    hidden = scene().convert("RGBA")
    hidden.putalpha(0)
    raw = tmp_path / "raw/flickr30k-images"
    raw.mkdir(parents=True)
    (raw / "1.jpg").write_bytes(turned)
    (raw / "2.jpg").write_bytes(encoded(hidden, "PNG"))
    listed = []
    for number in (1, 2):
        listed.append(official_forms.karpathy(number) | {"split": "test"})
    (tmp_path / "raw/dataset_flickr30k.json").write_text(json.dumps({"images": listed}))
    build.shard("flickr30k-test", tmp_path / "raw", tmp_path / "shards", PARAMS)
    found = sorted(Sharded(tmp_path / "shards").column("image"), key=len)
    assert turned in found
    for data in found:
        assert images.decode(data).size == scene().size
        assert apart(images.decode(data), scene()) < 4


def test_other_images_of_the_archive_are_passed_over(tmp_path: Path) -> None:
    """Flickr30K's are in one tar: those of other splits are neither records nor rejected."""
    generate.write("flickr30k", tmp_path, SYNTHETIC)
    with tarfile.open(tmp_path / "flickr30k-images.tar.gz") as archive:
        total = len(archive.getnames())
    sizes = SYNTHETIC.sizes["flickr30k"]
    found = records("flickr30k-test", tmp_path)
    assert total > len(found) == sizes["test"] + sizes["unsplit"]
