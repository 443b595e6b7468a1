"""The download stage: local folders, what is refused, and synthetic files."""

import json
from dataclasses import replace

import pytest

from pipeline.config import params
from pipeline.data.download import raw_files
from pipeline.data.download.official_files import OfficialFiles
from pipeline.data.download.params import DownloadParams, UrlListParams, params_class, readable
from pipeline.data.sharding import build
from pipeline.data.shards import parquet
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.url_fetch.params import ClientParams, FetchParams
from pipeline.errors import UserError
from tests.helpers.worlds import FULL

FETCH = FetchParams(
    rows_per_file=100,
    min_side=8,
    max_side=0,
    quality=95,
    placeholder=5,
    client=ClientParams(
        concurrency=8,
        per_host=8,
        timeout=5.0,
        retries=0,
        contact="data@example.org",
        allow_private=False,
    ),
)


def test_a_local_source_leaves_a_manifest_and_is_read_in_place(tmp_path, monkeypatch):
    theirs, out = tmp_path / "theirs", tmp_path / "raw"
    theirs.mkdir()
    (theirs / "books_large_p1.txt").write_text("one .\n")
    (theirs / "books_large_p2.txt").write_text("two words .\n")
    monkeypatch.chdir(tmp_path)
    settings = DownloadParams("local", "theirs", [], True)
    official = OfficialFiles("bookcorpus", settings, "download.bookcorpus")
    assert raw_files.download(official, out) == {"files": 2}
    assert json.loads((out / "manifest.json").read_text()) == {
        "books_large_p1.txt": 6,
        "books_large_p2.txt": 12,
    }
    assert [path.name for path in out.iterdir()] == ["manifest.json"]
    assert readable(out, settings).resolve() == theirs
    assert readable(out, DownloadParams("synthetic", "", [], True)) == out


@pytest.mark.parametrize("origin", ["local", "upstream"])
@pytest.mark.parametrize("path", ["raw", "raw/mine", "link"])
def test_the_users_files_in_the_output_folder_are_not_removed(tmp_path, monkeypatch, origin, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw/mine").mkdir(parents=True)
    (tmp_path / "raw/mine/books.txt").write_text("the only copy")
    (tmp_path / "link").symlink_to("raw/mine")
    official = OfficialFiles(
        "bookcorpus", DownloadParams(origin, path, [], False), "download.bookcorpus"
    )
    with pytest.raises(UserError, match="^params.yaml: download.bookcorpus.path: .* move your"):
        raw_files.download(official, tmp_path / "raw")
    assert (tmp_path / "raw/mine/books.txt").read_text() == "the only copy"


@pytest.mark.parametrize(
    "settings, message",
    [
        (DownloadParams("local", "", [], True), "coco.path: local needs"),
        (DownloadParams("local", "nowhere", [], True), "coco.path: no folder .*nowhere"),
        (
            DownloadParams("local", "empty", [], True),
            "coco.path: no train2014.zip or train2014 in .*empty",
        ),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(tmp_path, monkeypatch, settings, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"^params.yaml: download.{message}[^\n]*$"):
        official = OfficialFiles("coco", settings, "download.coco")
        raw_files.download(official, tmp_path / "raw")


def test_local_lists_are_fetched_and_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    theirs, out = tmp_path / "theirs", tmp_path / "raw"
    theirs.mkdir()
    (theirs / "GCC-training.tsv").write_text("a kite\tnot a url\nno tab\n")
    (theirs / "GCC-1.1.0-Validation.tsv").write_text("a pond\thttp://\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    settings = UrlListParams("local", str(theirs), [], False, FETCH)
    counts = raw_files.download(OfficialFiles("cc3m", settings, "download.cc3m"), out)
    assert counts == {"bad url": 2, "no url": 1}
    assert sorted(path.name for path in out.iterdir()) == ["fetched", "manifest.json"]
    written = sorted((out / "fetched").glob("*.parquet"))
    inodes = [path.stat().st_ino for path in written]
    calmer = replace(settings, fetch=replace(FETCH, client=replace(FETCH.client, concurrency=2)))
    official = OfficialFiles("cc3m", calmer, "download.cc3m")
    assert raw_files.download(official, out) == counts
    assert [path.stat().st_ino for path in written] == inodes  # linked again, not fetched again
    assert readable(out, settings) == out


def test_who_asks_other_peoples_servers_says_who_it_is(tmp_path):
    for name in ("GCC-training.tsv", "GCC-1.1.0-Validation.tsv"):
        (tmp_path / name).write_text("")
    nobody = replace(FETCH, client=replace(FETCH.client, contact=None))
    with pytest.raises(
        UserError, match=r"^params.yaml: url_fetch.common.client.contact: give [^\n]*$"
    ):
        settings = UrlListParams("local", str(tmp_path), [], False, nobody)
        official = OfficialFiles("cc3m", settings, "download.cc3m")
        raw_files.download(official, tmp_path / "raw")


def test_params_classes_differ_by_kind_of_source():
    assert params_class("sbu") is UrlListParams and params_class("vg") is DownloadParams
    assert build.params_class("vg") is build.PairShardParams
    assert build.params_class("ade20k") is build.ImageShardParams
    assert build.params_class("wikipedia") is build.ShardParams
    with pytest.raises(UserError, match="origin"):
        tree = {"origin": "moon", "path": None, "mirrors": [], "official": True}
        params.convert(DownloadParams, tree, "download.vg")


def test_the_generated_world_is_served_fetched_and_sharded(tmp_path):
    synthetic = SyntheticParams(
        seed=0, image_size=48, jpeg_quality=80, sizes={"cc3m": {"train": 60, "val": 12}}, world=FULL
    )
    settings = UrlListParams("synthetic", "", [], True, FETCH)
    shard_params = build.ImageShardParams(
        rows_per_group=16, groups_per_file=2, val_fraction=0.0, max_side=0
    )
    for name in ("one", "two"):
        official = OfficialFiles("cc3m", settings, "download.cc3m")
        counts = raw_files.download(official, tmp_path / name / "raw", synthetic)
        build.shard("cc3m", tmp_path / name / "raw", tmp_path / name / "out", shard_params)
    one, two = (
        sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        for name in ("one", "two")
    )
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert (
        sum(counts.values()) == 72
        and counts["ok"] > 50
        and {"http 404", "not an image", "empty"} <= counts.keys()
    )
    rows = [
        row
        for split in ("train", "val")
        for row in parquet.read_rows(tmp_path / "one" / "out", split)
    ]
    assert counts["ok"] - 1 == len(rows) and all(
        max(row["width"], row["height"]) == 48 for row in rows
    )
