"""The download stage with `origin: upstream`: every source in its official layout, through whatever a server does."""

import random
from pathlib import Path

import pytest

from pipeline import download, http, origins, published, sharding
from pipeline.errors import UserError
from pipeline.http import HttpParams
from pipeline.origins import DownloadParams, DumpParams, FetchParams, UrlListParams
from pipeline.world import server as pictures
from pipeline.world.sources import images
from tests import misbehaving, official, tiny
from tests.test_sharding import contents

WEB = HttpParams(files=3, timeout=0.5, retries=8, pause=0.001)
FETCH = FetchParams(concurrency=8, timeout=5.0, retries=0, rows_per_file=100)
HARMFUL = (["early"], ["early", "whole"], ["page"], ["quiet page"], ["early", "page"], ["unavailable"], ["busy"],
           ["old"], ["old", "blind"], ["early", "elsewhere"], ["early", "unsatisfiable"], ["chunked"], ["reset"])
WRONG = (["other"], ["shorter"], ["longer"])  # seen where a size or a checksum is known, and in zips
LISTS = ("cc3m", "sbu")


@pytest.fixture(scope="module")
def offered(tmp_path_factory) -> Path:
    """All sources as their publishers would offer them."""
    root = tmp_path_factory.mktemp("offered")
    for source in tiny.SOURCES:
        official.publish(source, root)
    return root


@pytest.fixture
def serving(offered, tmp_path, monkeypatch):
    """A server of all sources, whose lists are the official ones."""
    monkeypatch.setattr(published, "_FOLDER", offered / "lists")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.chdir(tmp_path)
    with misbehaving.serve(offered) as server:
        yield server


def settings(source: str, server: misbehaving.Server, path: str | None = None, mirrors: bool = True) -> DownloadParams:
    """From the server alone: it is a mirror that comes before all official addresses."""
    common = "upstream", path, [f"{server.address}/{source}/"] if mirrors else [], True
    if source in LISTS:
        return UrlListParams(*common, FETCH)
    return DumpParams(*common, official.DUMP) if source == "wikipedia" else DownloadParams(*common)


def downloaded(source: str, place: Path, params: DownloadParams, monkeypatch) -> Path:
    """The source's folder in a project of its own."""
    monkeypatch.setenv("DVC_ROOT", str(place))
    folder = place / "raw" / source
    if source not in LISTS:
        download.download(source, folder, params, None, f"paper.download.{source}", WEB)
        return folder
    with pictures.serve(images(source, official.WORLD)) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        download.download(source, folder, params, None, f"paper.download.{source}", WEB)
        monkeypatch.delenv("http_proxy")
    return folder


@pytest.mark.parametrize("source", tiny.SOURCES)
def test_a_server_that_misbehaves_changes_no_byte(tmp_path, offered, serving, monkeypatch, source):
    params = settings(source, serving)
    calm = downloaded(source, tmp_path / "calm", params, monkeypatch)
    draw, faults = random.Random(source), {}
    for file in (file for file in download.planned(source, params) if file.addresses):
        seen = WRONG if file.checked or file.exact or file.name.endswith(".zip") else ()
        chosen = draw.sample((*HARMFUL, *seen), 2)
        faults[f"{source}/{file.name}"] = [word for words in chosen for word in words]
    if source == "wikipedia":
        faults["wikipedia/dumpstatus.json"] = ["early", "page"]
    serving.faults |= faults
    planned = {path: len(words) for path, words in faults.items()}
    wild = downloaded(source, tmp_path / "wild", params, monkeypatch)
    assert contents(wild) == contents(calm)
    assert all(len(serving.faults[path]) < count for path, count in planned.items())
    before = len(serving.log)
    assert contents(downloaded(source, tmp_path / "wild", params, monkeypatch)) == contents(calm)
    assert len(serving.log) == before  # nothing is fetched again
    if source in ("cc3m", "coco", "imagenet1k", "wikipedia"):
        shard_params = sharding.ImageShardParams(rows_per_group=4, groups_per_file=2, holdout=0.0, max_side=0)
        for name, root in (("calm", calm), ("wild", wild)):
            sharding.shard(source, root, tmp_path / name / "shards", shard_params)
        assert contents(tmp_path / "calm/shards") == contents(tmp_path / "wild/shards")
