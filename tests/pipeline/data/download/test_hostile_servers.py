"""Downloads from servers that never end, never begin, or lie: one line, after so many tries."""

import hashlib
import os
import re
import socket

import pytest

from pipeline.data.download import http_client, transfer
from pipeline.data.download.manifest import Checksum, OfficialFile
from pipeline.data.download.official_files import OfficialFiles
from pipeline.data.download.params import DownloadParams, HttpParams
from pipeline.errors import UserError
from tests.helpers import raw_server

QUICK = HttpParams(files=3, timeout=0.2, retries=1, pause=0.001, allow_private=False)
SHA = Checksum("sha256", hashlib.sha256(b"the file").hexdigest())


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    behaviors = {name.replace(" ", "%20"): does for name, does in raw_server.BEHAVIORS.items()}
    with raw_server.serve(behaviors) as server:
        yield server


def failure(tmp_path, address: str, **known) -> str:
    """What is said of a file that cannot be had."""
    file = OfficialFile("file.bin", (address,), **({"checksum": SHA} | known))
    with pytest.raises(UserError) as caught:
        http_client.get([file], tmp_path / "store", QUICK, "test")
    return str(caught.value)


@pytest.mark.parametrize("name", raw_server.BEHAVIORS)
@pytest.mark.parametrize("known", [{"about": 100_000}, {"bytes": 5000}])
def test_every_try_ends_and_so_do_the_tries(tmp_path, server, name, known):
    said = failure(tmp_path, f"{server.address}/{name}", **known)
    assert re.fullmatch(r"test: file.bin could not be had: http://127\S+: [^\n]{2,80}", said)
    # aiohttp asks once more by itself where a connection is closed without a word
    times = {"redirects to itself": 11, "closes": 2}.get(name, 1)
    assert len(server.asked) <= (QUICK.retries + 1) * times


@pytest.mark.parametrize(
    "name, why",
    [
        ("never answers", "timeout"),
        ("drips its head", "timeout"),
        ("drips its body", "slower than a kilobyte per second"),
        ("drips without size", "slower than a kilobyte per second"),
        ("endless", "without an end"),
        ("endless chunks", "without an end"),
        ("redirects to itself", "too many redirects"),
        ("negative size", "not http"),
        ("one byte", "cut short"),
    ],
)
def test_it_is_said_why(tmp_path, server, name, why):
    address = f"{server.address}/{name.replace(' ', '%20')}"
    assert failure(tmp_path, address, about=100_000).endswith(f": {why}")


def test_a_byte_in_each_try_is_no_progress(tmp_path, server):
    """Or a file of a terabyte would take as many tries."""
    pieces = iter(range(1000))

    def one_more(connection: socket.socket) -> None:
        start = next(pieces)
        ranged = b"HTTP/1.1 206 x\r\nContent-Range: bytes %d-4999/5000\r\n" % start
        head = ranged if start else raw_server.OK
        connection.sendall(head + b'ETag: "1"\r\nContent-Length: %d\r\n\r\nx' % (5000 - start))

    server.behaviors["file.bin"] = one_more
    failure(tmp_path, f"{server.address}/file.bin", bytes=5000)
    assert len(server.asked) == 2


def test_what_nobody_has_room_for_is_not_begun(tmp_path, server):
    server.behaviors["file.bin"] = raw_server.says(
        raw_server.OK, b"Content-Length: 1", b"0" * 17, b"\r\n\r\nxx"
    )
    said = failure(tmp_path, f"{server.address}/file.bin")
    assert re.search(r": 100000.0 TB to come, and \S+ .B are free$", said)
    assert len(server.asked) == 1
    said = failure(tmp_path, f"{server.address}/file.bin", about=1000)
    assert said.endswith(": 100000.0 TB, about 1.0 kB are expected")


def test_of_a_file_of_which_nothing_is_known_half_the_disk_is_left(tmp_path, server, monkeypatch):
    monkeypatch.setattr(transfer, "disk_usage", lambda path: type("Usage", (), {"free": 1_000_000}))
    assert failure(tmp_path, f"{server.address}/endless").endswith(": without an end")
    assert not (tmp_path / "store/file.bin/part").exists()


def redirecting(target: str):
    head = f"HTTP/1.1 302 x\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"
    return raw_server.says(head.encode())


def test_redirects_lead_into_no_private_network(tmp_path, server):
    """Where the listed host, which the user has chosen, may be."""
    body = raw_server.says(raw_server.OK, b"Content-Length: 8\r\n\r\nthe file")
    port = server.server_address[1]
    server.behaviors |= {
        "away": redirecting(f"http://localhost:{port}/inside"),
        "here": redirecting("/it%27s?a=%2F"),
        "inside": body,
        "it%27s": body,
    }
    said = failure(tmp_path, f"{server.address}/away")
    assert said.endswith("/away: private address")
    assert [head.split()[1] for head in server.asked] == ["/away"]
    file = OfficialFile("file.bin", (f"{server.address}/here",), checksum=SHA)
    http_client.get([file], tmp_path / "store", QUICK, "test")
    assert [head.split()[1] for head in server.asked[1:]] == ["/here", "/it%27s?a=%2F"]
    allowed = HttpParams(files=1, timeout=5.0, retries=0, pause=0.0, allow_private=True)
    file = OfficialFile("other.bin", (f"{server.address}/away",), checksum=SHA)
    http_client.get([file], tmp_path / "store", allowed, "test")


@pytest.mark.parametrize("name", ["never answers", "size 2^64", "no http", "closes", "missing"])
def test_secrets_of_an_address_are_nowhere(tmp_path, server, capfd, name):
    server.behaviors["missing"] = raw_server.says(b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n")
    server.behaviors["early"] = raw_server.says(raw_server.OK, b"Content-Length: 8\r\n\r\nthe")
    address = server.address.replace("//", "//user:hunter2@")
    said = failure(tmp_path, f"{address}/{name.replace(' ', '%20')}?sig=hunter2#hunter2")
    failure(tmp_path, f"{address}/early?sig=hunter2")
    (note,) = tmp_path.rglob("part.json")
    printed = capfd.readouterr()
    assert "hunter2" not in said + printed.out + printed.err + note.read_text()
    assert "authorization: basic" in server.asked[0].lower()


def test_what_is_no_file_is_not_waited_for(tmp_path, server):
    for name in ("part", "part.json", "file.bin"):
        folder = tmp_path / "store/file.bin"
        folder.mkdir(parents=True, exist_ok=True)
        os.mkfifo(folder / name)
        said = failure(tmp_path, f"{server.address}/closes")
        assert said.endswith(f"file.bin/{name}: not a file; remove it and run the stage again")
        (folder / name).unlink()
    assert not server.asked


@pytest.mark.parametrize("note", ["", "{", "null", "[]", '{"total": 1}', '{"address": 1}'])
def test_a_part_whose_note_is_lost_is_begun_anew(tmp_path, server, note):
    server.behaviors["file.bin"] = raw_server.says(
        raw_server.OK, b"Content-Length: 8\r\n\r\nthe file"
    )
    folder = tmp_path / "store/file.bin"
    folder.mkdir(parents=True)
    (folder / "part").write_bytes(b"of anoth")
    (folder / "part.json").write_text(note)
    file = OfficialFile("file.bin", (f"{server.address}/file.bin",), checksum=SHA)
    http_client.get([file], tmp_path / "store", QUICK, "test")
    assert (folder / "file.bin").read_bytes() == b"the file"


def test_a_full_disk_is_one_line_and_what_came_is_kept(tmp_path, server, monkeypatch):
    def full(file, data):
        file.write(data[:3])
        raise OSError(28, "No space left on device", file.name)

    server.behaviors["file.bin"] = raw_server.says(
        raw_server.OK, b"Content-Length: 8\r\n\r\nthe file"
    )
    monkeypatch.setattr(transfer.files, "write_all", full)
    said = failure(tmp_path, f"{server.address}/file.bin")
    assert "file.bin/part: No space left on device; what is here is kept: run" in said
    assert (tmp_path / "store/file.bin/part").read_bytes() == b"the"


SECRET = "http://user:hunter2@127.0.0.1/mirror/?sig=hunter2"


def test_what_is_logged_and_planned_of_mirrors_has_no_secrets():
    params = DownloadParams("upstream", "", [SECRET], True)
    official = OfficialFiles("coco", params, "download.coco", QUICK)
    assert "hunter2" not in str(official.logged_params())
    assert official.logged_params()["mirrors"] == ["http://127.0.0.1/mirror/"]


@pytest.mark.parametrize(
    "mirror", ["data.example.org/", "ftp://a/", "/data/mirror/", "http://", ""]
)
def test_a_mirror_that_is_no_address_is_said_before_anything_is_done(mirror):
    params = DownloadParams("upstream", "", ["https://a/", mirror], True)
    official = OfficialFiles("coco", params, "download.coco", QUICK)
    with pytest.raises(
        UserError, match=r"^params.yaml: download.coco.mirrors: number 2 is not an "
    ):
        official.planned()
