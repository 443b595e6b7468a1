"""Shards of readers' records: what is checked, what is rejected, and that nothing but the content
decides the bytes."""

import bz2
import io
import json
import random
import signal
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.data.sharding import external_shuffle, record_reader
from pipeline.data.sharding.build import ImageShardParams, ShardParams, shard
from pipeline.data.shards import parquet
from pipeline.errors import UserError
from pipeline.orchestration import parallel_map
from pipeline.utils import progress
from tests.helpers import real_data

IMAGES = ImageShardParams(rows_per_group=4, groups_per_file=2, val_fraction=0.0, max_side=0)


def encoded(
    width: int = 12, height: int = 8, kind: str = "JPEG", mode: str = "RGB", **options: object
) -> bytes:
    buffer = io.BytesIO()
    image = Image.radial_gradient("L").resize((width, height)).convert("RGB")
    image.convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def flickr(
    folder: Path, images: dict[str, bytes], splits: dict[str, str], captions: list[str]
) -> Path:
    (folder / "flickr30k-images").mkdir(parents=True)
    for name, data in images.items():
        (folder / "flickr30k-images" / name).write_bytes(data)
    entries = [
        {"filename": name, "split": split, "sentences": [{"raw": text} for text in captions]}
        for name, split in splits.items()
    ]
    (folder / "dataset_flickr30k.json").write_text(
        json.dumps({"images": entries, "dataset": "flickr30k"})
    )
    return folder


def synsets(path: Path, count: int, classes: int = 2) -> Path:
    """An ImageNet-22K tar with `count` images in each class."""
    path.mkdir(parents=True)
    with tarfile.open(path / "fall11_whole.tar", "w") as outer:
        for wnid in (f"n{number:02d}" for number in range(1, classes + 1)):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as inner:
                for number in range(count):
                    add(inner, f"{wnid}_{number}.JPEG", encoded())
            add(outer, f"{wnid}.tar", buffer.getvalue())
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def test_good_images_are_kept_and_bad_ones_rejected_with_their_reason(tmp_path):
    good = encoded()
    images = {
        "1.jpg": good,
        "2.jpg": good[: len(good) // 2],
        "3.jpg": b"<html>",
        "4.jpg": b"",
        "5.jpg": encoded(20, 30),
    }
    splits = dict.fromkeys([*images, "6.jpg"], "train") | {"5.jpg": "test"}
    raw = flickr(tmp_path / "raw", images, splits, [" Two  words ", ""])
    counts = shard("flickr30k", raw, tmp_path / "out", IMAGES)
    rows = list(parquet.read_rows(tmp_path / "out", "train"))
    assert rows == [
        {
            "key": "1",
            "image": good,
            "width": 12,
            "height": 8,
            "label": -1,
            "captions": ["Two words"],
        }
    ]
    assert [row["key"] for row in parquet.read_rows(tmp_path / "out", "test")] == ["5"]
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert set(index["splits"]) == {"train", "test"} and index["kind"] == "image"
    assert index["rejected"] == {
        "damaged image": 1,
        "not an image": 1,
        "empty image": 1,
        "missing image": 1,
        "empty caption": 5,
    }
    assert counts == {"train": 1, "test": 1, "rejected": 9}
    rejected = pq.read_table(tmp_path / "out" / "rejected.parquet").to_pylist()
    assert {"key": "6", "reason": "missing image"} in rejected
    assert rejected == sorted(rejected, key=lambda row: row["key"])


def test_row_groups_order_and_holdout(tmp_path):
    params = ImageShardParams(rows_per_group=10, groups_per_file=3, val_fraction=0.2, max_side=0)
    counts = shard("imagenet22k", synsets(tmp_path / "raw", 60), tmp_path / "out", params)
    assert (
        counts["train"] + counts["val"] == 120
        and 10 <= counts["val"] <= 40
        and counts["rejected"] == 0
    )
    rows = list(parquet.read_rows(tmp_path / "out", "train"))
    assert {row["key"].split("_")[0]: row["label"] for row in rows} == {"n01": 0, "n02": 1}
    assert 0.25 < sum(row["label"] for row in rows[:30]) / 30 < 0.75  # classes are mixed
    groups = parquet.row_groups(tmp_path / "out", "train")
    assert [group.rows for group in groups][:-1] == [10] * (len(groups) - 1)
    assert [group.group for group in groups][:4] == [0, 1, 2, 0]


def test_bytes_are_the_same_in_another_folder(tmp_path):
    for name in ("one", "another"):
        shard("imagenet22k", synsets(tmp_path / name / "raw", 20), tmp_path / name / "out", IMAGES)
    assert contents(tmp_path / "one" / "out") == contents(tmp_path / "another" / "out")


def test_pieces_and_workers_do_not_change_the_bytes(tmp_path, monkeypatch):
    raw = synsets(tmp_path / "raw", 20)
    shard("imagenet22k", raw, tmp_path / "whole", IMAGES)
    monkeypatch.setattr(record_reader, "PIECE", 1)  # a piece per class
    for workers in (1, 2):
        shard("imagenet22k", raw, tmp_path / str(workers), IMAGES, workers=workers)
        assert contents(tmp_path / str(workers)) == contents(tmp_path / "whole")


def test_progress_counts_records_and_then_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_EVERY", 0.0)
    monkeypatch.setattr(record_reader, "PIECE", 1)
    raw = synsets(tmp_path / "raw", 10)
    shard("imagenet22k", raw, tmp_path / "out", IMAGES, expected=25)
    lines = [line.partition(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == [
        *(f"imagenet22k: {done} of 25 images read" for done in (10, 20)),
        *(f"imagenet22k: {done} of 20 images written" for done in (8, 16, 20)),
    ]


def test_a_cluster_makes_the_same_bytes(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    raw = synsets(tmp_path / "raw", 6)
    shard("imagenet22k", raw, tmp_path / "here", IMAGES)
    monkeypatch.setattr(record_reader, "PIECE", 1)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.chdir(tmp_path)
    shard("imagenet22k", raw, tmp_path / "there", IMAGES, workers=2)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_worker_ends_the_run_in_one_line(tmp_path, workers):
    """A dump that is cut short is found by whoever reads its end."""
    dump = tmp_path / "enwiki-1-pages-articles-multistream.xml.bz2"
    dump.write_bytes(bz2.compress(b"<mediawiki><page><ns>0</ns>"))
    with pytest.raises(UserError, match="damaged dump near byte 0"):
        shard("wikipedia", tmp_path, tmp_path / "out", ShardParams(2, 2, 0.0), workers=workers)


def test_a_killed_worker_is_reported():
    with pytest.raises(UserError, match="a worker process was killed"):
        parallel_map.run(signal.raise_signal, [(signal.SIGKILL,)], 2)


def test_text_shards(tmp_path):
    (tmp_path / "books_large_p1.txt").write_text(
        "".join(f"sentence {number} .\n" for number in range(200))
    )
    (tmp_path / "books_large_p2.txt").write_text("the end .\n")
    shard("bookcorpus", tmp_path, tmp_path / "out", ShardParams(2, 2, 0.0))
    rows = {row["key"]: row["sentences"] for row in parquet.read_rows(tmp_path / "out", "train")}
    assert len(rows) == 5 and rows["books_large_p2_0000000"] == ["the end ."]
    assert rows["books_large_p1_0000001"] == [f"sentence {number} ." for number in range(64, 128)]


def test_a_source_without_usable_records_or_files_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no usable record of flickr30k"):
        raw = flickr(tmp_path / "raw", {"1.jpg": b"x"}, {"1.jpg": "train"}, ["c"])
        shard("flickr30k", raw, tmp_path / "out", IMAGES)
    with pytest.raises(UserError, match="run the download stage"):
        shard("imagenet22k", tmp_path, tmp_path / "out 22k", IMAGES)
    (tmp_path / "fall11_whole.tar").write_bytes(b"x" * 5000)
    with pytest.raises(UserError, match="damaged official file"):
        shard("imagenet22k", tmp_path, tmp_path / "out 22k", IMAGES)


def test_equal_keys_stay_once(tmp_path):
    path = synsets(tmp_path / "raw", 3) / "fall11_whole.tar"
    with tarfile.open(path, "a") as outer:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as inner:
            add(inner, "n01_1.JPEG", encoded(30, 30))
        add(outer, "n03.tar", buffer.getvalue())
    assert shard("imagenet22k", tmp_path / "raw", tmp_path / "out", IMAGES) == {
        "train": 6,
        "rejected": 1,
    }
    assert all(row["width"] == 12 for row in parquet.read_rows(tmp_path / "out", "train"))


def test_the_order_is_a_function_of_the_keys(tmp_path):
    rows = [
        (split, {"key": f"{split}{number}", "n": number})
        for split in ("a", "b")
        for number in range(300)
    ]
    orders = []
    for memory in (1 << 30, 500):
        random.Random(memory).shuffle(rows)
        splits = external_shuffle.shuffled(rows, tmp_path, memory)
        orders.append([(split, row["key"]) for split, group in splits for row in group])
    assert orders[0] == orders[1] and sorted(orders[0]) == sorted((s, r["key"]) for s, r in rows)
    assert orders[0] != sorted(orders[0]) and not list(tmp_path.iterdir())


@real_data.needs("flickr30k")
class TestRealSlices:
    def test_flickr30k(self, tmp_path):
        counts = shard(
            "flickr30k",
            real_data.folder("flickr30k"),
            tmp_path / "out",
            ImageShardParams(16, 4, 0.0, 256),
        )
        assert counts == {"train": 80, "val": 20, "test": 20, "rejected": 0}
        row = next(parquet.read_rows(tmp_path / "out", "train"))
        assert max(row["width"], row["height"]) <= 256 and len(row["captions"]) == 5
