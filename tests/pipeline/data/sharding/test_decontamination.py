"""Images that a downstream validation or test set holds are left out of the pretraining pairs, and
counted."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import stages.decontamination
import stages.shard
from pipeline.data.datasets.formats import flickr_ids
from pipeline.data.sharding import decontamination
from pipeline.data.sharding.build import PairShardParams, shard
from pipeline.data.shards import parquet
from pipeline.data.url_fetch import placeholders
from pipeline.data.url_fetch.journal import FETCHED
from pipeline.errors import UserError
from pipeline.tracking import client as tracking
from tests.pipeline.data.datasets.test_readers import karpathy, write_zip
from tests.pipeline.data.sharding.test_build import encoded

PARAMS = PairShardParams(
    rows_per_group=4,
    groups_per_file=4,
    val_fraction=0.0,
    max_side=0,
    min_coverage=0.0,
    decontaminate=True,
)
PARAMS_YAML = """scale: small
preset: small
pool: {workers: 1}
download:
  common: {mirrors: [], official: false}
  coco: {origin: local, path: coco}
  flickr30k: {origin: local, path: flickr30k}
  vg: {origin: local, path: vg}
shard:
  common: {rows_per_group: 4, groups_per_file: 4}
  vg: {val_fraction: 0, max_side: 0, decontaminate: SWITCH, min_coverage: 0}
"""
IMAGE = encoded()
COCO = {
    "train": ("train2014", 1),
    "restval": ("val2014", 2),
    "val": ("val2014", 3),
    "test": ("val2014", 4),
}


def coco_name(folder, number):
    return f"COCO_{folder}_{number:012d}.jpg"


def flickr_url(number):
    return f"http://farm4.staticflickr.com/31/{number}_0af_z.jpg"


@pytest.fixture
def raw(tmp_path):
    """COCO with an image in each split, its numbers at Flickr, and Flickr30K's splits."""
    coco, flickr30k = tmp_path / "coco", tmp_path / "flickr30k"
    coco.mkdir()
    flickr30k.mkdir()
    for folder in ("train2014", "val2014"):
        write_zip(
            coco / f"{folder}.zip",
            {
                f"{folder}/{coco_name(part, number)}": IMAGE
                for part, number in COCO.values()
                if part == folder
            },
        )
    write_zip(
        coco / "caption_datasets.zip",
        {
            "dataset_coco.json": karpathy(
                "coco",
                [
                    (folder, coco_name(folder, number), split, ["A boat."])
                    for split, (folder, number) in COCO.items()
                ],
            )
        },
    )
    write_zip(
        coco / "annotations_trainval2014.zip",
        {
            f"annotations/captions_{folder}.json": json.dumps(
                {
                    "info": {},
                    "images": [
                        {
                            "id": number,
                            "file_name": coco_name(folder, number),
                            "flickr_url": flickr_url(1000 + number),
                        }
                        for part, number in COCO.values()
                        if part == folder
                    ],
                    "annotations": [],
                }
            ).encode()
            for folder in ("train2014", "val2014")
        },
    )
    splits = ((7001, "train"), (7002, "val"), (7003, "test"))
    (flickr30k / "dataset_flickr30k.json").write_bytes(
        karpathy(
            "flickr30k", [("", f"{number}.jpg", split, ["A kite."]) for number, split in splits]
        )
    )
    return tmp_path


def evaluation_images(raw):
    decontamination.write(
        {"coco": raw / "coco", "flickr30k": raw / "flickr30k"}, raw / "decontamination.json"
    )
    return frozenset(json.loads((raw / "decontamination.json").read_text()))


def visual_genome(folder, images):
    """Rows of (image id, COCO's number, Flickr's number)."""
    folder.mkdir()
    write_zip(folder / "images.zip", {f"VG_100K/{number}.jpg": IMAGE for number, *_ in images})
    write_zip(folder / "images2.zip", {})
    data = [
        {
            "image_id": number,
            "url": f"https://x.example/VG_100K/{number}.jpg",
            "coco_id": coco,
            "flickr_id": at,
        }
        for number, coco, at in images
    ]
    regions = [{"id": number, "regions": [{"phrase": "a boat"}]} for number, *_ in images]
    write_zip(folder / "image_data.json.zip", {"image_data.json": json.dumps(data).encode()})
    write_zip(
        folder / "region_descriptions.json.zip",
        {"region_descriptions.json": json.dumps(regions).encode()},
    )
    return folder


def test_evaluation_images_are_known_by_both_numbers(raw):
    assert evaluation_images(raw) == {
        "coco 3",
        "coco 4",
        "flickr 1003",
        "flickr 1004",
        "flickr 7002",
        "flickr 7003",
    }
    (raw / "coco/annotations_trainval2014.zip").unlink()
    assert evaluation_images(raw) == {"coco 3", "coco 4", "flickr 7002", "flickr 7003"}
    (raw / "flickr30k/dataset_flickr30k.json").unlink()
    with pytest.raises(UserError, match="run the download stage"):
        evaluation_images(raw)


def test_visual_genome_loses_what_coco_or_flickr30k_tests(raw):
    genome = visual_genome(
        raw / "vg",
        [
            (10, None, None),
            (11, 1, 1001),
            (12, 2, None),
            (13, 3, None),
            (14, 4, 1004),
            (15, None, 7003),
            (16, None, 7001),
            (17, 77, 1003),
        ],
    )
    assert shard("vg", genome, raw / "out", PARAMS, excluded=evaluation_images(raw)) == {
        "train": 4,
        "rejected": 4,
    }
    assert {row["key"] for row in parquet.read_rows(raw / "out", "train")} == {
        "10",
        "11",
        "12",
        "16",
    }
    index = json.loads((raw / "out/index.json").read_text())
    assert index["rejected"] == {"in a downstream validation or test set": 4}
    rejected = pq.read_table(raw / "out/rejected.parquet").to_pylist()
    assert rejected[1] == {
        "key": "14",
        "reason": "in a downstream validation or test set: coco 4, flickr 1004",
    }
    assert shard("vg", genome, raw / "all", PARAMS) == {"train": 8, "rejected": 0}


def test_lists_of_urls_are_filtered_by_their_addresses(raw):
    (raw / "sbu/fetched").mkdir(parents=True)
    rows = [
        {"key": str(number), "url": url, "status": "ok", "image": IMAGE, "caption": "a boat"}
        for number, url in enumerate(
            (
                "http://static.flickr.com/12/7003_0a1b.jpg",
                "http://static.flickr.com/12/7001_0a1b.jpg",
                "http://a.example/7003_0a1b.jpg",
            )
        )
    ]
    pq.write_table(pa.Table.from_pylist(rows, FETCHED), raw / "sbu/fetched/train-00000.parquet")
    placeholders.mark(raw / "sbu/fetched", 2)
    assert shard("sbu", raw / "sbu", raw / "out", PARAMS, excluded=evaluation_images(raw)) == {
        "train": 2,
        "rejected": 1,
    }


def test_the_sets_that_are_tested_keep_their_images(raw):
    assert shard("coco", raw / "coco", raw / "out", PARAMS, excluded=evaluation_images(raw)) == {
        "train": 2,
        "val": 1,
        "test": 1,
        "rejected": 0,
    }


def test_coco_loses_training_images_that_flickr30k_tests(raw):
    names = evaluation_images(raw) | {"flickr 1002"}
    assert shard("coco", raw / "coco", raw / "out", PARAMS, excluded=names) == {
        "train": 1,
        "val": 1,
        "test": 1,
        "rejected": 1,
    }


@pytest.mark.parametrize("switch, rows", [("true", 1), ("false", 2)])
def test_the_switch_is_in_params_yaml(raw, monkeypatch, switch, rows):
    visual_genome(raw / "vg", [(12, 2, None), (13, 3, None)])
    (raw / "flickr30k/flickr30k-images").mkdir()
    (raw / "params.yaml").write_text(PARAMS_YAML.replace("SWITCH", switch))
    monkeypatch.chdir(raw)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(tracking, "installed", lambda: False)
    stages.decontamination.main()
    stages.shard.main("vg")
    assert len(list(parquet.read_rows(raw / "data/small/shards/vg", "train"))) == rows


@pytest.mark.parametrize(
    "url, number",
    [
        ("http://static.flickr.com/2723/4385058960_b0f291553e.jpg", 4385058960),
        ("https://farm4.staticflickr.com/3153/2970773875_164f0c0b83_z.jpg", 2970773875),
        ("https://live.staticflickr.com/65535/123_ab_c.jpg?x=1", 123),
        ("http://www.notflickr.com/1/12_ab.jpg", None),
        ("https://www.flickr.com/photos/someone/123/", None),
        ("", None),
        ("http://a.example/static.flickr.com/1/12_ab.jpg", None),
    ],
)
def test_the_number_of_a_photograph_at_flickr(url, number):
    assert flickr_ids.names(url) == (() if number is None else (f"flickr {number}",))
