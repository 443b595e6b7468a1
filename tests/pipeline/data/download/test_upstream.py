"""The download stage with `origin: upstream`: every source in its official layout, through whatever
a server does."""

import hashlib
import json
import random
from pathlib import Path

import pytest

from pipeline.config import params
from pipeline.config.params import convert
from pipeline.data import datasets
from pipeline.data.datasets import facts
from pipeline.data.download import checksums, manifest, raw_files, released_weights
from pipeline.data.download.official_files import OfficialFiles
from pipeline.data.download.params import DownloadParams, DumpParams, HttpParams, UrlListParams
from pipeline.data.sharding import build
from pipeline.data.synthetic import url_server
from pipeline.data.synthetic.generate import url_responder
from pipeline.errors import UserError
from pipeline.planning import data_cost
from pipeline.tracking import client as tracking
from tests.helpers import misbehaving, official, tiny
from tests.helpers.released_tokenizers import write_bert
from tests.pipeline.data.download.test_raw_files import FETCH
from tests.pipeline.data.sharding.test_build import contents

HTTP = HttpParams(files=3, timeout=0.5, retries=8, pause=0.001, allow_private=False)
HARMFUL = (
    ["early"],
    ["early", "whole"],
    ["page"],
    ["quiet page"],
    ["early", "page"],
    ["unavailable"],
    ["busy"],
    ["old"],
    ["old", "blind"],
    ["early", "elsewhere"],
    ["early", "unsatisfiable"],
    ["chunked"],
    ["reset"],
)
WRONG = (
    ["other"],
    ["shorter"],
    ["longer"],
)  # seen where a size or a checksum is known, and in zips
LISTS = ("cc3m", "sbu")


@pytest.fixture(scope="module")
def offered(tmp_path_factory) -> Path:
    """All sources as their publishers would offer them."""
    root = tmp_path_factory.mktemp("offered")
    for source in tiny.SOURCES:
        official.publish(source, root)
    return root


@pytest.fixture(scope="module")
def shard_blocks():
    return tiny.settings()["shard"]


@pytest.fixture
def serving(offered, tmp_path, monkeypatch):
    """A server of all sources, whose lists are the official ones."""
    monkeypatch.setattr(facts, "FOLDER", offered / "lists")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.chdir(tmp_path)
    with misbehaving.serve(offered) as server:
        yield server


def settings(
    source: str, server: misbehaving.Server, path: str | None = None, mirrors: bool = True
) -> DownloadParams:
    """From the server alone: it is a mirror that comes before all official addresses."""
    common = "upstream", path, [f"{server.address}/{source}/"] if mirrors else [], True
    if source in LISTS:
        return UrlListParams(*common, FETCH)
    return DumpParams(*common, official.DUMP) if source == "wikipedia" else DownloadParams(*common)


def downloaded(source: str, project: Path, params: DownloadParams, monkeypatch) -> Path:
    """The source's folder in a project of its own."""
    monkeypatch.setenv("DVC_ROOT", str(project))
    folder = project / "raw" / source
    official_files = OfficialFiles(source, params, f"paper.download.{source}", HTTP)
    if source not in LISTS:
        raw_files.download(official_files, folder)
        return folder
    with url_server.serve(url_responder(source, official.SYNTHETIC)) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        raw_files.download(official_files, folder)
        monkeypatch.delenv("http_proxy")
    return folder


@pytest.mark.parametrize("source", tiny.SOURCES)
def test_a_server_that_misbehaves_changes_no_byte(
    tmp_path, offered, serving, monkeypatch, source, shard_blocks
):
    params = settings(source, serving)
    calm = downloaded(source, tmp_path / "calm", params, monkeypatch)
    draw, faults = random.Random(source), {}
    for file in (file for file in OfficialFiles(source, params).planned() if file.addresses):
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
    block = shard_blocks["common"] | shard_blocks[source]
    how = convert(build.params_class(source), block, f"shard.{source}")
    for name, root in (("calm", calm), ("wild", wild)):
        build.shard(source, root, tmp_path / name / "shards", how)
    assert contents(tmp_path / "calm/shards") == contents(tmp_path / "wild/shards")


def test_files_behind_a_form_are_asked_for_once_the_others_are_here(
    tmp_path, offered, serving, monkeypatch
):
    mirror = [f"{serving.address}/flickr30k/caption_datasets.zip"]
    params = DownloadParams("upstream", "by hand/flickr30k", mirror, True)
    asked = (
        r"^flickr30k: to be got by hand: flickr30k-images.tar.gz: through the form at https://\S+, "
        r"which [^\n]*; put it under this name \(or as flickr30k-images, flickr30k_images\) into "
        r"\S*by hand/flickr30k and run this again$"
    )
    with pytest.raises(UserError, match=asked):
        downloaded("flickr30k", tmp_path, params, monkeypatch)
    assert serving.log == [("flickr30k/caption_datasets.zip", 0, 200)]
    (tmp_path / "by hand/flickr30k").mkdir(parents=True)
    theirs = tmp_path / "by hand/flickr30k/flickr30k-images.tar.gz"
    theirs.write_bytes((offered / "flickr30k" / theirs.name).read_bytes())
    folder = downloaded("flickr30k", tmp_path, params, monkeypatch)
    assert (folder / theirs.name).stat().st_ino == theirs.stat().st_ino  # linked, not copied
    assert (
        contents(folder).keys() == {theirs.name, "caption_datasets.zip"} and len(serving.log) == 1
    )
    theirs.rename(
        theirs.with_name("flickr30k-images")
    )  # in another form: any file or folder of this name
    folder = downloaded("flickr30k", tmp_path, params, monkeypatch)
    assert contents(folder).keys() == {"flickr30k-images", "caption_datasets.zip"}


def test_of_a_part_no_more_is_fetched_than_it_needs_and_nothing_twice(
    tmp_path: Path, serving: misbehaving.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = settings("coco", serving)
    folder = downloaded("coco-test", tmp_path, params, monkeypatch)
    assert contents(folder).keys() == {"val2014.zip", "caption_datasets.zip"}
    assert {path for path, _, _ in serving.log} == {f"coco/{name}" for name in contents(folder)}
    serving.log.clear()
    assert len(contents(downloaded("coco", tmp_path, params, monkeypatch))) == 4
    rest = ("coco/train2014.zip", "coco/annotations_trainval2014.zip")
    assert {path for path, _, _ in serving.log} == set(rest)


def test_a_users_folder_with_the_files_of_a_part_will_do(
    tmp_path: Path, offered: Path, serving: misbehaving.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = DownloadParams("local", "theirs", [], True)
    official.copy("coco", offered, tmp_path / "theirs")
    (tmp_path / "theirs/train2014.zip").unlink()
    downloaded("coco-test", tmp_path, params, monkeypatch)
    with pytest.raises(UserError, match="no train2014.zip"):
        downloaded("coco", tmp_path, params, monkeypatch)
    (tmp_path / "theirs/val2014.zip").write_bytes(b"incomplete")
    with pytest.raises(
        UserError,
        match=r"^params.yaml: paper.download.coco-test.path: \S+/val2014.zip: 10 bytes, [^\n]*$",
    ):
        downloaded("coco-test", tmp_path, params, monkeypatch)


@pytest.mark.parametrize(
    "source, names",
    [
        (
            "imagenet1k",
            "ILSVRC2012_img_train.tar.*ILSVRC2012_img_val.tar.*ILSVRC2012_devkit_t12.tar.gz",
        ),
        ("imagenet22k", "fall11_whole.tar"),
        ("bookcorpus", "books_large_p1.txt, books_large_p2.txt"),
        ("nlvr2", "train_img.zip, dev_img.zip, test1_img.zip"),
        ("flickr30k", "flickr30k-images.tar.gz"),
        ("flickr30k-test", "flickr30k-images.tar.gz"),
        ("nlvr2-test", "dev_img.zip, test1_img.zip"),
        ("imagenet1k-test", "ILSVRC2012_img_val.tar.*ILSVRC2012_devkit_t12.tar.gz"),
    ],
)
def test_what_must_be_got_by_hand_is_said_in_one_line(
    tmp_path, offered, serving, monkeypatch, source, names
):
    mirrors = [
        f"{serving.address}/{facts.whole(source)}/{file.name}"
        for file in manifest.read(source).files
        if file.addresses
    ]
    message = (
        rf"^{source}: to be got by hand: {names}[^\n]*; "
        rf"[^\n]*as params.yaml: paper.download.{source}.path"
    )
    with pytest.raises(UserError, match=message):
        downloaded(source, tmp_path, DownloadParams("upstream", "", mirrors, True), monkeypatch)


def test_files_of_the_users_own_folder_are_verified_once_and_only_the_rest_is_fetched(
    tmp_path, offered, serving, monkeypatch
):
    official.copy("vg", offered, tmp_path / "theirs")
    (tmp_path / "theirs/images2.zip").unlink()
    hashed = []
    monkeypatch.setattr(
        checksums,
        "feed",
        lambda hasher, path, feed=checksums.feed: (hashed.append(path.name), feed(hasher, path)),
    )
    params = settings("vg", serving, path="theirs")
    for _ in range(2):
        downloaded("vg", tmp_path, params, monkeypatch)
        assert hashed == [
            "images.zip",
            "image_data.json.zip",
        ]  # no checksum is published of the third
        assert [path for path, _, _ in serving.log] == ["vg/images2.zip"]
    local = DownloadParams("local", "theirs", [], True)
    (tmp_path / "theirs/images2.zip").write_bytes(b"incomplete")
    with pytest.raises(
        UserError,
        match=r"^params.yaml: paper.download.vg.path: \S+/images2.zip: 10 bytes, the "
        r"official file has [^\n]*; get it again, or set paper.download.vg.official: f",
    ):
        downloaded("vg", tmp_path, local, monkeypatch)
    (tmp_path / "theirs/images2.zip").write_bytes(
        bytes((offered / "vg/images2.zip").stat().st_size)
    )
    with pytest.raises(UserError, match="images2.zip: sha256 [0-9a-f]{64}, the official file has"):
        downloaded("vg", tmp_path, local, monkeypatch)
    assert downloaded("vg", tmp_path, DownloadParams("local", "theirs", [], False), monkeypatch)
    assert hashed == ["images.zip", "image_data.json.zip", "images2.zip"]


@pytest.mark.parametrize(
    "change, message",
    [
        (("done", "in-progress"), "the dump is in-progress, not done"),
        (("articlesmultistreamdump", "other"), "no list of"),
        (("{", "["), "not valid JSON"),
    ],
)
def test_a_dump_that_is_not_finished_is_not_taken(
    tmp_path, offered, serving, monkeypatch, change, message
):
    official.copy("wikipedia", offered, tmp_path / "served")
    status = tmp_path / "served/dumpstatus.json"
    good = status.read_text()
    status.write_text(good.replace(*change))
    monkeypatch.setattr(serving, "root", tmp_path)
    params = DumpParams("upstream", "", [f"{serving.address}/served/"], True, official.DUMP)
    with pytest.raises(UserError, match=message):
        downloaded("wikipedia", tmp_path, params, monkeypatch)
    status.write_text(good)
    assert contents(downloaded("wikipedia", tmp_path, params, monkeypatch))
    other = DumpParams("upstream", "", [], True, "20990101")
    monkeypatch.setattr(
        manifest,
        "read",
        lambda *words, **fields: manifest.Publication(
            (manifest.OfficialFile("dumpstatus.json", (f"{serving.address}/none",)),),
            listed_bytes=1,
        ),
    )
    with pytest.raises(
        UserError, match="http 404; params.yaml: paper.download.wikipedia.dump must be the date"
    ):
        downloaded("wikipedia", tmp_path, other, monkeypatch)


def test_a_local_dump_is_verified_by_the_list_beside_it(tmp_path, offered, monkeypatch):
    official.copy("wikipedia", offered, tmp_path / "theirs")
    params = DumpParams("local", str(tmp_path / "theirs"), [], True, official.DUMP)
    downloaded("wikipedia", tmp_path, params, monkeypatch)
    dump = next((tmp_path / "theirs").glob("*.bz2"))
    dump.write_bytes(dump.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{dump.name}: [0-9,]+ bytes, the official file has"):
        downloaded("wikipedia", tmp_path, params, monkeypatch)


def test_lists_of_official_files_are_whole():
    assert set(datasets.names()) == {*tiny.SOURCES, *tiny.PARTS}
    lists = {}
    for source in (*datasets.names(), "weights"):
        lists[source] = manifest.read(source, dump=official.DUMP)
    for source, publication in lists.items():
        assert publication.files
        for file in publication.files:
            digits = len(file.checksum.value) if file.checksum else 0
            assert (
                digits in {"sha256": (8, 64), "sha1": (40,), "md5": (32,)}[file.checksum.kind]
                if digits
                else True
            )
            assert file.addresses or publication.by_hand or file.optional, f"{source}: {file.name}"
            assert all(
                address.startswith(("https://", "http://")) and "{" not in address
                for address in file.addresses
            )
    weights = {file.name: file.checksum for file in lists["weights"].files}
    assert all(
        checksum.value in name for name, checksum in weights.items() if name.startswith("vqkd")
    )


def test_weights_of_the_siblings_are_listed_once_each_under_their_own_names():
    files = manifest.read("weights").files
    assert len({file.name for file in files}) == len(files)
    families = {"vlmo_base_": 5, "beit3_base_": 11, "beit_base_": 6, "beitv2_base_": 6}
    for prefix, count in families.items():
        assert sum(file.name.startswith(prefix) for file in files) == count, prefix
    for file in files:
        assert [address.rpartition("/")[2] for address in file.addresses] == [file.name]
    assert {"beit3.spm", "vocab.txt"} < {file.name for file in files}


def test_a_plan_tells_sizes_steps_and_what_is_here(tmp_path, offered, serving, monkeypatch):
    params = settings("coco", serving)
    before = {file.name: file for file in OfficialFiles("coco", params).planned()}
    downloaded("coco", tmp_path, params, monkeypatch)
    after = {file.name: file for file in OfficialFiles("coco", params).planned()}
    assert before.keys() == after.keys() and not any(file.here for file in before.values())
    assert all(file.exact and file.checked and file.here == file.bytes for file in after.values())
    plan = {
        file.name: file
        for file in OfficialFiles(
            "flickr30k", settings("flickr30k", serving, mirrors=False)
        ).planned()
    }
    assert (
        "form" in plan["flickr30k-images.tar.gz"].by_hand
        and not plan["caption_datasets.zip"].by_hand
    )
    assert (
        OfficialFiles("sbu", settings("sbu", serving)).planned()[-1].name
        == "the images behind the URLs"
    )
    assert (
        OfficialFiles("wikipedia", settings("wikipedia", serving)).planned()[-1].name
        == "the parts of the dump"
    )
    assert OfficialFiles("coco", DownloadParams("synthetic", "", [], True)).planned() == []


def test_weights_come_if_they_are_asked_for_by_name(tmp_path, offered, serving, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    data = b"weights"
    name = f"vqkd_{hashlib.sha256(data).hexdigest()[:8]}.pth"
    (offered / name).write_bytes(data)
    (offered / "lists/weights.yaml").write_text(
        f"files:\n- name: {name}\n  addresses: ['{serving.address}/{name}']\n"
        f"  sha256: {name[5:13]!r}\n"
    )
    folder = Path("data/paper/weights")
    weights = OfficialFiles(
        "weights", DownloadParams("upstream", "", [], True), "released_weights", HTTP
    )
    assert released_weights.gather(weights, folder, []) == {"files": 0}
    assert (
        released_weights.gather(weights, folder, ["my/own.pth"]) == {"files": 0} and not serving.log
    )
    assert released_weights.gather(weights, folder, [f"{folder}/{name}"]) == {"files": 1}
    assert (folder / name).read_bytes() == data
    assert json.loads((folder / "manifest.json").read_text()) == [
        {"name": name, "bytes": 7, "sha256": hashlib.sha256(data).hexdigest()}
    ]
    with pytest.raises(
        UserError,
        match=r"^params.yaml: released_weights: no weights other.pth are published \(known",
    ):
        released_weights.gather(weights, folder, [f"{folder}/other.pth"])
    made_up = OfficialFiles(
        "weights", DownloadParams("synthetic", "", [], True), "released_weights", HTTP
    )
    with pytest.raises(UserError, match=rf"released_weights.origin: synthetic, but .*{name}"):
        released_weights.gather(made_up, folder, [f"{folder}/{name}"])


def test_the_text_tokenizers_released_file_comes_from_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "installed", lambda: False)
    monkeypatch.chdir(tmp_path)
    vocabulary = write_bert(tmp_path / "mine")
    tree = tiny.settings()
    tree["released_weights"] |= {"origin": "local", "path": str(vocabulary.parent)}
    tree["released_weights"] |= {"official": False}  # a made-up vocabulary
    tree["text_tokenizer"] |= {"origin": "released", "file": "data/small/weights/vocab.txt"}
    tiny.write(tmp_path, tree)
    planned = {source.name: source for source in data_cost.planned_sources(params.read())}
    assert [file.name for file in planned["weights"].files] == ["vocab.txt"]
    tiny.run("released_weights")
    gathered = tmp_path / "data/small/weights/vocab.txt"
    assert gathered.read_bytes() == vocabulary.read_bytes()


def test_the_stages_read_their_parameters(tmp_path, offered, serving, monkeypatch):
    monkeypatch.setattr(tracking, "installed", lambda: False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    tree = tiny.settings()
    tree["download"]["ade20k"] |= {
        "origin": "upstream",
        "mirrors": [f"{serving.address}/ade20k/"],
    }
    tiny.write(tmp_path, tree)
    tiny.run("download", "ade20k")
    tiny.run("released_weights")
    assert contents(Path("data/small/raw")) == {
        "ade20k/ADEChallengeData2016.zip": (
            offered / "ade20k/ADEChallengeData2016.zip"
        ).read_bytes()
    }
    assert contents(Path("data/small/weights")) == {"manifest.json": b"[]\n"}
    with pytest.raises(
        UserError, match="ade20k: not what is published: train: 4 in place of 20,210"
    ):
        tiny.run("shard", "ade20k")
