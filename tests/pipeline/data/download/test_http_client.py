"""The downloader against a server that misbehaves: the right file in the end, or none."""

import hashlib
import random

import pytest

from pipeline.data.download import http_client, manifest
from pipeline.data.download.manifest import Checksum, OfficialFile
from pipeline.data.download.params import HttpParams
from pipeline.data.synthetic import archives
from pipeline.errors import UserError
from tests.helpers import misbehaving

QUICK = HttpParams(files=3, timeout=0.3, retries=2, pause=0.001, allow_private=False)
DATA = random.Random(1).randbytes(2_000_000)
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves `file.bin`."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "served").mkdir()
    (tmp_path / "served/file.bin").write_bytes(DATA)
    with misbehaving.serve(tmp_path / "served") as serving:
        yield serving


def wanted(
    server, *, size: int | None = len(DATA), sha: str | None = SHA, name: str = "file.bin"
) -> OfficialFile:
    return OfficialFile(
        name, (f"{server.address}/{name}",), bytes=size, checksum=sha and Checksum("sha256", sha)
    )


KNOWN = {
    "everything": {},
    "size": {"sha": None},
    "checksum": {"size": None},
    "nothing": {"size": None, "sha": None},
    "eight digits": {"size": None, "sha": SHA[:8]},
}


@pytest.mark.parametrize("known", ["size", "checksum", "nothing"])
@pytest.mark.parametrize(
    "faults, resumed",
    [  # resumed: whether each request asks for the rest alone
        (["early"], "01"),
        (["early", "early"], "011"),
        (["reset"], None),
        (["hang"], "01"),
        (["early", "whole"], "01"),
        (["page"], "00"),
        (["quiet page"], "00"),
        (["early", "page"], "011"),
        (["early", "quiet page"], None),
        (["unavailable", "busy"], "000"),
        (["old"], "01"),
        (["old", "blind"], "010"),
        (["early", "elsewhere"], "010"),
        (["early", "unsatisfiable"], "010"),
        (["chunked"], None),
        (["half"], None),
    ],
    ids=str,
)
def test_in_the_end_the_file_is_right(tmp_path, server, known, faults, resumed):
    server.faults["file.bin"] = list(faults)
    file = wanted(server, **KNOWN[known])
    http_client.get([file], tmp_path / "store", QUICK, "test")
    assert http_client.finished_path(tmp_path / "store", file).read_bytes() == DATA
    assert not server.faults["file.bin"]
    assert resumed is None or "".join(str(int(start > 0)) for _, start, _ in server.log) == resumed
    asked = len(server.log)
    http_client.get([file], tmp_path / "store", QUICK, "test")
    assert len(server.log) == asked


@pytest.mark.parametrize(
    "known, fault",
    [
        ("everything", "other"),
        ("checksum", "other"),
        ("eight digits", "other"),
        ("everything", "shorter"),
        ("size", "shorter"),
        ("checksum", "shorter"),
        ("everything", "longer"),
        ("size", "longer"),
        ("checksum", "longer"),
        ("checksum", "half"),
        ("nothing", "half"),
    ],
)
def test_another_file_is_not_taken(tmp_path, server, known, fault):
    file = wanted(server, **KNOWN[known])
    server.faults["file.bin"] = [fault]
    http_client.get([file], tmp_path / "store", QUICK, "test")
    assert http_client.finished_path(tmp_path / "store", file).read_bytes() == DATA
    (tmp_path / "other").mkdir()
    server.faults["file.bin"] = [fault] * 3
    with pytest.raises(UserError, match=r"^test: file.bin could not be had: http://\S+: [^\n]+$"):
        http_client.get([file], tmp_path / "other", QUICK, "test")
    assert not http_client.finished_path(tmp_path / "other", file).exists()


def test_a_zip_of_which_nothing_is_known_is_looked_into(tmp_path, server):
    archives.write_zip(tmp_path / "served/a.zip", [("a.json", DATA)])
    file = wanted(server, size=None, sha=None, name="a.zip")
    server.faults["a.zip"] = ["shorter", "other"]
    http_client.get([file], tmp_path / "store", QUICK, "test")
    assert (
        http_client.finished_path(tmp_path / "store", file).read_bytes()
        == (tmp_path / "served/a.zip").read_bytes()
    )
    assert len(server.log) == 3


def test_mirrors_are_tried_in_turn_and_a_part_of_one_is_gone_on_with_at_the_next(tmp_path, server):
    (tmp_path / "served/mirror").mkdir()
    (tmp_path / "served/mirror/file.bin").write_bytes(DATA)
    file = manifest.mirrored(
        wanted(server), [f"{server.address}/nowhere/", f"{server.address}/mirror/file.bin?key=1"]
    )
    server.faults["mirror/file.bin"] = ["early", "forbidden"]
    http_client.get([file], tmp_path / "store", QUICK, "test")
    assert [(path, start > 0) for path, start, _ in server.log] == [
        ("mirror/file.bin", False),
        ("mirror/file.bin", True),
        ("nowhere/file.bin", True),
        ("file.bin", True),
    ]
    assert http_client.finished_path(tmp_path / "store", file).read_bytes() == DATA


def test_files_come_at_the_same_time_and_one_that_fails_does_not_stop_the_others(tmp_path, server):
    for name in ("b.bin", "c.bin"):
        (tmp_path / "served" / name).write_bytes(DATA)
    server.faults["b.bin"] = ["hang"]
    files = [wanted(server, name=name) for name in ("missing.bin", "b.bin", "c.bin")]
    with pytest.raises(
        UserError, match="^test: missing.bin could not be had: http://[^ ]+: http 404$"
    ):
        http_client.get(files, tmp_path / "store", QUICK, "test")
    assert all(
        http_client.finished_path(tmp_path / "store", file).read_bytes() == DATA
        for file in files[1:]
    )
    order = [path for path, _, _ in server.log]
    assert order.index("c.bin") < len(order) - 1 - order[::-1].index("b.bin")  # c came while b hung


def test_the_disk_must_have_room(tmp_path, server):
    file = wanted(server, size=10**16)
    with pytest.raises(
        UserError, match=r"store: test needs 10000.0 TB more, and \d+.\d .B are free$"
    ):
        http_client.get([file], tmp_path / "store", QUICK, "test")
    assert not server.log


def test_a_proxy_of_the_environment_is_used(tmp_path, server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.address)
    file = OfficialFile(
        "file.bin", ("http://data.example/file.bin",), checksum=Checksum("sha256", SHA)
    )
    http_client.get([file], tmp_path / "store", QUICK, "test")
    assert [path for path, _, _ in server.log] == ["http://data.example/file.bin"]
