"""Counts of records against what is published: every source tells them, and what is wrong stops the
shard stage."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.data.datasets import facts
from pipeline.data.download import params, raw_files
from pipeline.data.download.official_files import OfficialFiles
from pipeline.data.sharding import build, count_checks
from pipeline.data.synthetic.generate import write
from pipeline.errors import UserError
from pipeline.tracking import client as tracking
from stages import shard
from tests.helpers import official, tiny
from tests.pipeline.data.download.test_raw_files import FETCH

PARAMS = """scale: small
preset: small
pool: {workers: 1}
download:
  common: {mirrors: [], official: false}
  ade20k: {origin: local, path: theirs, official: true}
shard: {common: {rows_per_group: 2, groups_per_file: 3}, ade20k: {val_fraction: 0.0, max_side: 0}}
"""

# What synthetic files hold of each data set: `official.SYNTHETIC`, blemishes included.
FOUND = {
    "cc3m": {"train URLs": 16, "val URLs": 3},
    "sbu": {"URLs": 12},
    "coco": {"train": 6, "restval": 4, "val": 3, "test": 3},
    "vg": {"image_data": 8, "region_descriptions": 8},
    "imagenet22k": {"synsets": 4},
    "wikipedia": {"articles": 12},
    "bookcorpus": {"sentences": 200},
    "flickr30k": {
        "train": 6,
        "val": 2,
        "test": 2,
        "captions": 50,
        "missing images": 0,
        "images in no split": 1,
    },
    "imagenet1k": {"val": 6, "classes": 3},
    "vqav2": {"missing images": 0},
    "nlvr2": {"train": 16, "dev": 8, "test1": 8},
    "ade20k": {"train": 4, "val": 2, "masks with other classes": 0},
    "coco-test": {"test": 2, "captions": 10, "missing images": 0},
    "flickr30k-test": {"test": 1, "captions": 5, "missing images": 0},
    "vqav2-test": {"questions without ten answers": 0, "missing images": 0},
    "nlvr2-test": {"dev": 8, "test1": 8, "missing images": 0},
    "imagenet1k-test": {"val": 3, "classes": 3},
    "ade20k-test": {"val": 1, "masks with other classes": 0},
}


@pytest.mark.parametrize("source", tiny.SOURCES + tiny.PARTS)
def test_what_is_counted_is_what_is_there(tmp_path, source):
    root = tmp_path / "raw"
    root.mkdir()
    if source in ("cc3m", "sbu"):
        settings = params.UrlListParams("synthetic", "", [], True, FETCH)
        raw_files.download(OfficialFiles(source, settings), root, official.SYNTHETIC)
    else:
        write(source, root, official.SYNTHETIC)
    sizes = build.SharedShardParams(
        rows_per_group=4,
        groups_per_file=2,
        val_fraction=0.0,
        max_side=0,
        decontaminate=False,
    )
    build.shard(source, root, tmp_path / "shards", sizes)
    found = {
        check.name: check.found for check in count_checks.check(source, root, tmp_path / "shards")
    }
    known = facts.read(source)
    assert found.keys() == known.exact.keys() | known.about.keys()
    assert {name: found[name] for name in FOUND[source]} == FOUND[source]


def test_a_wrong_count_stops_the_shard_stage_and_other_files_can_be_taken_as_they_are(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(tracking, "installed", lambda: False)
    write("ade20k", tmp_path / "theirs", official.SYNTHETIC)
    Path("params.yaml").write_text(PARAMS)
    with pytest.raises(
        UserError,
        match=r"^ade20k: not what is published: train: 4 in place of 20,210, val: 2 [^\n]*; "
        r"[^\n]*download.ade20k.official: false[^\n]*$",
    ):
        shard.main("ade20k")
    assert capsys.readouterr().out.splitlines()[1:3] == [
        "ade20k                    expected  found  verdict",
        "train                       20,210      4  wrong",
    ]
    out = Path("data/small/shards/ade20k")
    assert not out.exists()
    known = replace(
        facts.read("ade20k"), exact={"train": 4, "val": 2, "masks with other classes": 0}
    )
    monkeypatch.setattr(facts, "read", lambda source: known)
    shard.main("ade20k")
    assert {count["verdict"] for count in json.loads((out / "counts.json").read_text())} == {
        "right"
    }
    Path("params.yaml").write_text(PARAMS.replace("official: true", "official: false"))
    shard.main("ade20k")
    assert sorted(path.name for path in out.iterdir()) == [
        "index.json",
        "rejected.parquet",
        "train-00000.parquet",
        "val-00000.parquet",
    ]
