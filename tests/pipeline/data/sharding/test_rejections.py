"""What the shard stage says of what it left out."""

import re

import pytest

from pipeline.data.records import LONGEST, Rejected, key_fault
from pipeline.data.sharding import build, rejections
from pipeline.data.sharding.build import ImageShardParams
from pipeline.errors import UserError
from stages import shard
from tests.helpers.official_forms import FORMS, jpeg, karpathy

PARAMS = ImageShardParams(rows_per_group=4, groups_per_file=2, val_fraction=0.0, max_side=0)


def flickr(root, images, entries):
    _, write = FORMS[("flickr30k", "split")]
    root.mkdir()
    write(root, entries)
    (root / "flickr30k-images/1.jpg").unlink()
    for name, data in images.items():
        (root / "flickr30k-images" / name).write_bytes(data)
    return root


def test_the_summary_counts_what_was_read_kept_and_rejected_by_reason(tmp_path):
    entries = [karpathy(number) for number in range(5)]
    entries[1]["sentences"][0]["raw"] = " "
    entries[2]["split"] = "val"
    images = {"0.jpg": jpeg(), "1.jpg": jpeg(), "2.jpg": jpeg(), "9.jpg": jpeg()}
    root = flickr(tmp_path / "raw", images, entries)
    build.shard("flickr30k", root, tmp_path / "out", PARAMS)
    assert rejections.summary("flickr30k", tmp_path / "out").splitlines() == [
        "flickr30k: 9 read, 5 kept (train 3 of 2 images, val 2 of 1 images), 4 rejected:",
        "  2 missing image, such as 3",
        "  1 empty caption, such as 1#0",
        "  1 in no split, such as 9",
    ]


def test_a_source_without_a_usable_record_says_why(tmp_path):
    entries = [karpathy(number) for number in range(4)] + [None, {"split": 7}]
    images = {"0.jpg": b"GIF", "1.jpg": b"<html>", "2.jpg": b""}
    root = flickr(tmp_path / "raw", images, entries)
    with pytest.raises(UserError) as error:
        build.shard("flickr30k", root, tmp_path / "out", PARAMS)
    message = str(error.value)
    assert re.search(
        r"no usable record of flickr30k, 6 rejected: 2 damaged record, such as ", message
    )
    assert (
        "dataset_flickr30k.json: images[4]: null in place of an object; 2 not an image" in message
    )
    assert "; 1 empty image, such as 2" in message and "\n" not in message


def test_a_source_without_any_record_says_so(tmp_path):
    root = flickr(tmp_path / "raw", {}, [])
    with pytest.raises(UserError, match="no usable record of flickr30k: there is none$"):
        build.shard("flickr30k", root, tmp_path / "out", PARAMS)


def test_keys_and_reasons_of_damaged_files_are_stored_as_printable_text():
    bad = Rejected("a\nb\ud800\x1b[31m" + "x" * 5000, "damaged line: \r\u2028caf\xe9")
    (row,) = rejections.table([bad]).to_pylist()
    assert row["reason"] == "damaged line: \\r\\u2028caf\xe9"
    assert row["key"].startswith("a\\nb\\ud800\\x1b[31mxx") and len(row["key"]) < LONGEST + 50


@pytest.mark.parametrize("key", ["a b.jpg", "caf\xe9", "\u4e2d.jpg", "a\u00a0b", "x" * LONGEST])
def test_ordinary_keys_are_right(key):
    assert key_fault(key) is None


@pytest.mark.parametrize(
    "key, fault",
    [("", "empty"), (" ", "empty"), ("a\n", "damaged"), ("\udcff", "damaged"), ("\x7f", "damaged")]
    + [("a\u2028b", "damaged"), ("a\x85", "damaged"), ("x" * (LONGEST + 1), "over-long")],
)
def test_keys_that_can_stand_in_no_file(key, fault):
    assert key_fault(key) == fault


def test_the_stage_prints_the_summary(tmp_path, monkeypatch, capsys):
    root = flickr(tmp_path / "raw", {"0.jpg": jpeg()}, [karpathy(0), karpathy(1)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shard.params, "load", lambda *_: shard.parallel_map.PoolParams(1))
    shard._shard("flickr30k", root, tmp_path / "shards", PARAMS, tmp_path / "none", counted=False)
    assert "flickr30k: 3 read, 2 kept" in capsys.readouterr().out


def test_a_change_behind_a_link_is_seen_and_a_foreign_file_is_none(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "raw/train2014").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/1.jpg").write_bytes(b"1")
    before = shard._versions(tmp_path / "raw")
    (tmp_path / "raw/.DS_Store").write_bytes(b"?")
    assert shard._versions(tmp_path / "raw") == before
    (tmp_path / "disk/1.jpg").write_bytes(b"22")
    assert shard._versions(tmp_path / "raw") != before
