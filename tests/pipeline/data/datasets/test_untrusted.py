"""Archives and lists from elsewhere: nothing is written outside, linked or expanded without
limit."""

import bz2
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.data.datasets import wikipedia
from pipeline.data.datasets.formats import archives, json_stream
from pipeline.data.datasets.formats.archives import BadMember, Tree
from pipeline.data.records import ImageRecord, Rejected
from pipeline.data.sharding import build, record_reader
from pipeline.errors import UserError
from tests.pipeline.data.datasets.test_readers import tar_bytes
from tests.pipeline.data.sharding.test_build import encoded


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "name, mode", [("fall11_whole.tar", "w"), ("winter21_whole.tar.gz", "w:gz")]
)
def test_only_regular_members_are_read_and_no_name_leads_anywhere(tmp_path, name, mode):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as archive:
        for info in (
            special("n01_1.JPEG", tarfile.SYMTYPE, "/etc/passwd"),
            special("n01_2.JPEG", tarfile.FIFOTYPE),
            special("n01_3.JPEG", tarfile.LNKTYPE, "../../secret"),
            special("n01_4.JPEG", tarfile.CHRTYPE),
        ):
            archive.addfile(info)
        for path in ("../../../n01_5.JPEG", "/tmp/n01_6.JPEG"):
            info = tarfile.TarInfo(path)
            info.size = len(encoded())
            archive.addfile(info, io.BytesIO(encoded()))
    raw, out = tmp_path / "deep/raw", tmp_path / "deep/out"
    raw.mkdir(parents=True)
    (raw / name).write_bytes(tar_bytes({"../n01.tar": inner.getvalue()}, mode))
    before = tree(tmp_path)
    counts = build.shard("imagenet22k", raw, out, build.ImageShardParams(4, 4, 0.0, 0))
    assert counts == {"train": 2, "rejected": 4}
    assert tree(tmp_path) - before == {"deep/out", *(f"deep/out/{path}" for path in tree(out))}
    assert tree(out) == {"index.json", "rejected.parquet", "train-00000.parquet"}


@pytest.mark.parametrize(
    "name, mode", [("fall11_whole.tar", "w"), ("winter21_whole.tar.gz", "w:gz")]
)
def test_large_members_are_refused_by_their_header(tmp_path, monkeypatch, name, mode):
    monkeypatch.setattr(archives, "LARGEST", 1000)
    inner = tar_bytes({"n01_1.JPEG": b"x" * 1001, "n01_2.JPEG": b"y"})
    (tmp_path / name).write_bytes(tar_bytes({"n01.tar": inner}, mode))
    assert list(record_reader.read("imagenet22k", tmp_path)) == [
        Rejected("n01_1", "too large a file: 1001 bytes"),
        ImageRecord("n01_2", "train", b"y", (), 0),
    ]


@pytest.mark.parametrize(
    "name, mode", [("fall11_whole.tar", "w"), ("winter21_whole.tar.gz", "w:gz")]
)
def test_a_tar_that_is_damaged_in_its_middle_is_not_taken_for_a_short_one(tmp_path, name, mode):
    whole = tar_bytes({"n01_1.JPEG": b"x", "n01_2.JPEG": b"y"})
    broken = whole[:1024] + b"?" * 512 + whole[1536:]
    (tmp_path / name).write_bytes(
        tar_bytes({"n01.tar": broken, "n02.tar": tar_bytes({"n02_1.JPEG": b"z"})}, mode)
    )
    first, second, third = record_reader.read("imagenet22k", tmp_path)
    assert (first.key, third.key) == ("n01_1", "n02_1")
    assert second.key == "n01" and second.reason.startswith("damaged tar: damaged header")
    if mode == "w":
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(UserError, match="a damaged official file of imagenet22k"):
            list(record_reader.read("imagenet22k", tmp_path))


def test_an_inner_tar_does_not_reach_into_the_next(tmp_path):
    info = tarfile.TarInfo("n01_1.JPEG")
    info.size = 4000
    members_ = {"n01.tar": info.tobuf() + b"x" * 512, "n02.tar": tar_bytes({"n02_1.JPEG": b"z"})}
    (tmp_path / "fall11_whole.tar").write_bytes(tar_bytes(members_))
    assert list(record_reader.read("imagenet22k", tmp_path)) == [
        Rejected("n01", "damaged tar: cut short"),
        ImageRecord("n02_1", "train", b"z", (), 1),
    ]


def test_zips_that_lie_are_damaged(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/bomb.jpg", bytes(1 << 20))
        archive.writestr("in/good.jpg", b"good")
        archive.writestr("other/x.jpg", b"x")
    data = path.read_bytes()
    (tmp_path / "lying.zip").write_bytes(
        data.replace((1 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    )
    (tmp_path / "locked.zip").write_bytes(  # the bit that says "encrypted", in both headers
        data.replace(b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\1\0").replace(
            b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"
        )
    )
    with (
        Tree(path, "in/") as honest,
        Tree(tmp_path / "lying.zip", "in/") as lying,
        Tree(tmp_path / "locked.zip", "in/") as locked,
    ):
        monkeypatch.setattr(archives, "LARGEST", 1000)
        with pytest.raises(BadMember, match="too large a file: 1048576 bytes"):
            honest.read("bomb.jpg")
        with pytest.raises(BadMember, match="damaged member of the zip"):
            lying.read("bomb.jpg")
        with pytest.raises(BadMember, match="damaged member of the zip"):
            locked.read("good.jpg")
        with pytest.raises(BadMember, match="missing"):
            honest.read("../other/x.jpg")
        assert honest.names() == ["bomb.jpg", "good.jpg"] and honest.read("good.jpg") == b"good"


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg", "."])
def test_names_from_lists_do_not_lead_out_of_a_folder(tmp_path, name):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "images").mkdir()
    with Tree(tmp_path / "images") as folder, pytest.raises(BadMember, match="missing image"):
        folder.read(name)


def test_json_without_end_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(json_stream, "LARGEST", 5000)
    monkeypatch.setattr(json_stream, "_CHUNK", 1000)
    endless = io.StringIO(json.dumps(["a", "x" * 100_000]))
    with pytest.raises(ValueError, match="damaged or cut short"):
        list(json_stream.json_items(endless))
    assert endless.tell() <= 8000


def test_xml_that_expands_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "enwiki-1-pages-articles-multistream.xml.bz2"
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 9))
    laughs = f'<!DOCTYPE m [<!ENTITY e0 "{"ha" * 50}">{entities}]><mediawiki><page><ns>&e8;</ns></page></mediawiki>'
    path.write_bytes(bz2.compress(laughs.encode()))
    with pytest.raises(UserError, match="damaged dump"):
        list(record_reader.read("wikipedia", tmp_path))
    monkeypatch.setattr(wikipedia, "_LARGEST", 1 << 20)
    path.write_bytes(bz2.compress(b"<mediawiki><page><ns>0</ns><x>" + bytes([32]) * (8 << 20)))
    with pytest.raises(UserError, match="a page of more than"):
        list(record_reader.read("wikipedia", tmp_path))
