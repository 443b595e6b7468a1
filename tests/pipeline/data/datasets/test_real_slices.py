"""Slices of the real data sets through readers and shards: how many records go in, come out and are
left out."""

from pathlib import Path

import pytest

from pipeline.data import datasets
from pipeline.data.datasets import facts
from pipeline.data.records import Rejected
from pipeline.data.sharding import build, record_reader
from pipeline.data.sharding.build import ImageShardParams, ShardParams
from pipeline.utils import files
from tests.helpers import real_data, real_slices

FOLDERS = {"bookcorpus": "books"}

# Source: records by split, and how many are left out for which reason.
EXPECTED = {
    "flickr30k": ({"train": 80, "val": 20, "test": 20}, {}),
    "coco": ({"train": 60}, {}),
    "vqav2": ({"train": 10, "val": 2}, {"missing image": 1486}),
    "ade20k": ({"val": 1}, {}),
    "flickr30k-test": ({"test": 20}, {}),
    "vqav2-test": ({"val": 2}, {}),
    "ade20k-test": ({"val": 1}, {}),
    "wikipedia": ({"train": 18}, {"redirect": 12, "incomplete sentence": 3}),
    "bookcorpus": ({"train": 1}, {}),
}


def official(source: str, folder: Path) -> Path:
    """The slice as the reader expects the whole, with nothing in the parts that the slice lacks."""
    if source == "coco":
        real_slices.coco(folder, {"train": 60})
    elif facts.whole(source) == "vqav2":
        real_slices.vqav2(folder)
    elif facts.whole(source) == "nlvr2":
        _without_images(folder)
    else:
        return real_data.folder(FOLDERS.get(source, facts.whole(source)))
    return folder


def _without_images(folder: Path) -> None:
    for name in ("train", "dev", "test1"):
        (folder / name).mkdir()
        (folder / f"{name}.json").write_text("")
    (folder / "dev.json").write_text((real_data.folder("nlvr2") / "data/dev.json").read_text())


def params(source: str) -> ShardParams:
    return (
        ShardParams(16, 4, 0.0)
        if datasets.load(source).KIND == "text"
        else ImageShardParams(16, 4, 0.0, 0)
    )


@real_data.needs("flickr30k", "coco", "vqav2", "ade20k", "wikipedia", "books", "nlvr2")
class TestRealSlices:
    @pytest.mark.parametrize("source", EXPECTED)
    def test_records_in_and_out(self, tmp_path, source):
        raw, out = tmp_path / "raw", tmp_path / "out"
        raw.mkdir()
        build.shard(source, official(source, raw), out, params(source))
        index = files.read_json(out / "index.json")
        rows = {split: entry["rows"] for split, entry in index["splits"].items()}
        assert (rows, index["rejected"]) == EXPECTED[source]

    @pytest.mark.parametrize("source", ["nlvr2", "nlvr2-test"])
    def test_nlvr2_without_images(self, tmp_path, source):
        records = list(record_reader.read(source, official(source, tmp_path)))
        assert len(records) == 300
        for record in records:
            assert isinstance(record, Rejected) and record.reason.startswith("missing image")
