"""The fetcher against a small web that misbehaves."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.data.datasets import cc3m
from pipeline.data.records import UrlRow
from pipeline.data.url_fetch import fetcher, host_queue, placeholders, request
from pipeline.data.url_fetch.fetcher import fetch
from pipeline.data.url_fetch.journal import Journal, UrlResult
from pipeline.data.url_fetch.params import ClientParams, FetchParams
from pipeline.errors import UserError
from tests.helpers import tiny, web_server
from tests.helpers.web_server import Web, jpeg

CLIENT = ClientParams(
    concurrency=8,
    per_host=4,
    timeout=0.5,
    retries=1,
    contact="data@example.org",
    allow_private=False,
)
PARAMS = FetchParams(
    rows_per_file=7, min_side=8, max_side=0, quality=90, placeholder=3, client=CLIENT
)


@pytest.fixture
def server(monkeypatch) -> Iterator[Web]:
    monkeypatch.setattr(fetcher, "_BACKOFF", 0.05)
    with web_server.web() as server:
        yield server


def rows(urls: list[str], split: str = "train") -> Callable[[], list[UrlRow]]:
    return lambda: [
        UrlRow(f"{split}_{number}", split, url, f"caption {number}")
        for number, url in enumerate(urls)
    ]


def table(folder: Path) -> list[dict]:
    return [
        row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


STATUSES = {
    "http://a.example/fine/1": "ok",
    "http://a.example/gone": "http 404",
    "http://a.example/empty": "empty",
    "http://a.example/page": "not an image",
    "http://b.example/slow": "timeout",
    "http://b.example/flaky/2": "ok",
    "http://b.example/moved/3": "ok",
    "http://b.example/loop": "too many redirects",
    "http://b.example/nowhere": "http 302",
    "http://c.example/promises": "cut short",
    "http://c.example/hides": "not http",
    "http://c.example/giant": "too large",
    "http://c.example/endless": "too large",
    "http://d.example/private": "opted out",
    "http://d.example/tiny": "too small",
    "http://d.example/nonsense": "not http",
    "http://d.example/broken": "ok",
    "http://": "bad url",
    "gopher://a/b": "bad url",
    "not a url": "bad url",
    "http://[::1": "bad url",
    "": "no url",
}


def test_every_url_gets_a_status_in_list_order(tmp_path, server, monkeypatch, capsys):
    monkeypatch.setattr(request, "MAX_BYTES", 1 << 16)
    train, val = rows([*STATUSES]), rows(["http://a.example/fine/9"], "val")
    counts = fetch("list", lambda: [*train(), *val()], tmp_path, PARAMS, server.address)
    assert sorted(contents(tmp_path)) == [
        "placeholders.json",
        *(f"train-{part:05d}.parquet" for part in range(4)),
        "val-00000.parquet",
    ]
    found = table(tmp_path)
    assert [row["key"] for row in found] == [
        f"train_{number}" for number in range(len(STATUSES))
    ] + ["val_0"]
    assert {row["url"]: row["status"] for row in found} == STATUSES | {
        "http://a.example/fine/9": "ok"
    }
    assert [row["caption"] for row in found[:2]] == ["caption 0", "caption 1"]
    assert all(
        (row["image"] is not None) == (row["digest"] is not None) == (row["status"] == "ok")
        for row in found
    )
    assert found[0]["image"] == jpeg(1) and found[6]["image"] == jpeg(3)
    assert counts == Counter(row["status"] for row in found)
    asked = server.asked
    assert asked["http://a.example/gone"] == 1
    assert (
        asked["http://b.example/slow"] == 2 and asked["http://c.example/promises"] == 2
    )  # transient failures
    assert asked["http://b.example/loop"] == 6
    assert server.agents == {"vl-beit (research data set fetcher; data@example.org)"}
    printed = capsys.readouterr()
    assert printed.out.startswith("list: 5 ok, 4 bad url, 2 not http, 2 too large, 1 cut short, ")


def test_failures_below_http_have_statuses_of_their_own(tmp_path, monkeypatch):
    real = socket.getaddrinfo

    def lookup(host, *rest, **more):
        if host == "nowhere.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with web_server.web() as plain:
        urls = [
            "http://nowhere.example/x",
            "http://127.0.0.1:1/x",
            plain.address.replace("http", "https") + "/x",
        ]
        fetch(
            "list",
            rows(urls),
            tmp_path,
            replace(PARAMS, client=replace(CLIENT, retries=0, timeout=5.0, allow_private=True)),
        )
    assert [row["status"] for row in table(tmp_path)] == [
        "no such host",
        "connection error",
        "tls error",
    ]


def test_turns_are_limited_at_each_host_and_in_all(tmp_path, server):
    """Nobody answers before all turns are taken."""
    for host in ("a.example", "b.example", "c.example", "d.example", "new.example"):
        server.holds[host] = lambda host=host: server.most[host] >= 2 and server.most[""] >= 6
    urls = [f"http://{name}.example/fine/{number}" for number in range(25) for name in "abcd"]
    urls += [f"http://old.example/moved/{number}" for number in range(10)]  # to new.example
    client = replace(CLIENT, concurrency=6, per_host=2, timeout=20.0)
    fetch("list", rows(urls), tmp_path, replace(PARAMS, client=client), server.address)
    assert server.most.pop("") == 6
    assert server.most.pop("old.example") <= 2
    assert set(server.most.values()) == {2} and len(server.most) == 5


def test_a_host_that_asks_for_rest_gets_it_and_others_do_not_wait(tmp_path, server):
    urls = [f"http://tired.example/busy/{number}" for number in range(2)]
    urls += [f"http://awake.example/fine/{number}" for number in range(10)]
    counts = fetch(
        "list",
        rows(urls),
        tmp_path,
        replace(PARAMS, client=replace(CLIENT, per_host=1)),
        server.address,
    )
    assert counts == {"ok": 12}
    tired = server.times("tired")
    assert len(tired) == 4 and tired[1] - tired[0] >= 1.0
    assert max(server.times("awake")) < tired[1]


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("", 0),
        ("7", 7),
        ("soon", 0),
        ("-3", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00", 0),
    ],
)
def test_how_long_to_rest(retry_after, seconds):
    assert request.rest(retry_after) == seconds
    assert 1e9 < request.rest("Fri, 21 Oct 2095 07:28:00 GMT")


@pytest.mark.parametrize(
    ("tag", "about_us"),
    [
        ("noai", True),
        ("NoIndex, nofollow", True),
        ("nofollow", False),
        ("otherbot: noindex", False),
        ("vl-beit: noimageai", True),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST", False),
    ],
)
def test_who_opts_out(tag, about_us):
    assert request.opts_out(tag) == about_us


def test_slow_hosts_hold_nobody_else(tmp_path, server):
    server.holds["slow.example"] = lambda: len(server.times("quick")) == 150
    urls = [f"http://slow.example/fine/{number}" for number in range(12)]
    urls += [f"http://quick.example/fine/{number}" for number in range(150)]
    client = replace(CLIENT, per_host=2, timeout=20.0)
    assert fetch("list", rows(urls), tmp_path, replace(PARAMS, client=client), server.address) == {
        "ok": 162
    }
    assert len(server.log) == 162


def test_few_rows_are_in_memory_while_a_host_is_slow(tmp_path, server, monkeypatch):
    monkeypatch.setattr(fetcher, "_MAX_OPEN", 30)
    urls = [
        f"http://{'slow' if number % 4 == 0 else 'quick'}.example/fine/{number}"
        for number in range(240)
    ]
    ahead = []  # rows that were read and not asked for, at every reading; first all are counted
    server.holds["slow.example"] = lambda: max(ahead[len(urls) :]) >= 25

    def listed() -> Iterator[UrlRow]:
        for number, row in enumerate(rows(urls)()):
            ahead.append(number - len(server.log))
            yield row

    client = replace(CLIENT, per_host=2, timeout=20.0)
    assert fetch("list", listed, tmp_path, replace(PARAMS, client=client), server.address) == {
        "ok": 240
    }
    assert max(ahead[len(urls) :]) <= 31


@pytest.mark.parametrize("others", [True, False])
def test_a_dead_host_is_given_up_where_others_answer(tmp_path, server, monkeypatch, others):
    """With no other answer it may be the network that is down."""
    monkeypatch.setattr(host_queue, "MAX_SILENT_TRIES", 4)
    server.holds["dead.example"] = lambda: False
    urls = [f"http://dead.example/fine/{number}" for number in range(20)]
    alive = [f"http://a.example/fine/{number}" for number in range(20)] * others
    client = replace(CLIENT, timeout=0.2, per_host=2, retries=0, concurrency=3)
    server.pauses["a.example"] = 0.05
    counts = fetch(
        "list", rows([*urls, *alive]), tmp_path, replace(PARAMS, client=client), server.address
    )
    assert counts == {"timeout": 20} | ({"ok": 20} if others else {})
    assert (len(server.times("dead")) <= 6) == others


def test_without_a_network_the_run_stops_and_no_url_is_to_blame(tmp_path, monkeypatch):
    monkeypatch.setattr(fetcher, "_MAX_SILENCE", 10)
    urls = [f"http://{number}.example/fine/{number}" for number in range(40)]
    params = replace(PARAMS, rows_per_file=100, client=replace(CLIENT, retries=0))
    with pytest.raises(
        UserError, match="^list: no answer from any of the last 10 URLs .*goes on where it stopped$"
    ):
        fetch("list", rows(urls), tmp_path, params, "http://127.0.0.1:1")
    with web_server.web() as server:
        assert fetch("list", rows(urls), tmp_path, params, server.address) == {"ok": 40}


def test_an_image_that_many_urls_give_is_a_placeholder(tmp_path, server):
    urls = [f"http://a.example/fine/{number}" for number in range(20)]
    for index in (2, 9, 16):  # in three files
        urls[index] = f"http://{index}.example/unavailable"
    urls[5:7] = ["http://a.example/fine/3"] * 2  # one URL in three rows is no placeholder
    params = replace(PARAMS, client=replace(CLIENT, timeout=5.0))
    assert fetch("list", rows(urls), tmp_path / "fetched", params, server.address) == {
        "ok": 17,
        "placeholder image": 3,
    }
    (shared,) = placeholders.read(tmp_path / "fetched")
    assert [
        number for number, row in enumerate(table(tmp_path / "fetched")) if row["digest"] == shared
    ] == [2, 9, 16]
    read = [record for entry in cc3m.entries(tmp_path) for record in _records(tmp_path, entry)]
    assert [
        record.key for record in read if getattr(record, "reason", "") == "placeholder image"
    ] == ["train_2", "train_9", "train_16"]


def _records(root, entry):
    with cc3m.open_reader(root) as read:
        return list(read(entry))


def test_bytes_do_not_depend_on_who_answers_first(tmp_path, server):
    urls = [
        f"http://{name}.example/{kind}/{number}"
        for number in range(12)
        for name, kind in (("a", "fine"), ("b", "gone"), ("c", "unavailable"))
    ]
    many = replace(CLIENT, timeout=5.0)
    for name, client in (("one", replace(many, concurrency=1)), ("many", many), ("late", many)):
        server.pauses["a.example"] = 0.01 * (name == "late")
        fetch("list", rows(urls), tmp_path / name, replace(PARAMS, client=client), server.address)
    assert contents(tmp_path / "one") == contents(tmp_path / "many") == contents(tmp_path / "late")


def test_images_are_reduced_as_they_come(tmp_path, server):
    urls = [
        f"http://a.example/{kind}/{number}"
        for number, kind in enumerate(("wide", "fine", "broken", "wide"))
    ]
    fetch("list", rows(urls), tmp_path, replace(PARAMS, max_side=100), server.address)
    wide, fine, broken, _ = table(tmp_path)
    assert Image.open(BytesIO(wide["image"])).size == (100, 25)
    assert fine["image"] == jpeg(1)
    assert (broken["status"], broken["image"]) == ("damaged image", None)


def test_odd_lists(tmp_path, server):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "GCC-training.tsv").write_bytes(
        b"caf\xe9\thttp://a.example/fine/1\nno tab\none\thttp://a.example/fine/2\t"
        b"more\n\n\ta\n \thttp://a.example/fine/3?\xff\nlast\t http://a.example/fine/4 "
    )
    (raw / "GCC-1.1.0-Validation.tsv").write_bytes(b"")
    half = UrlRow("x", "val", "http://a.example/fine/5", "half a pair \ud83d")
    fetch("list", lambda: [*cc3m.urls(raw), half], tmp_path, PARAMS, server.address)
    found = table(tmp_path)
    assert [row["status"] for row in found] == [
        "ok",
        "no url",
        "no url",
        "no url",
        "bad url",
        "ok",
        "ok",
        "ok",
    ]
    assert found[0]["caption"] == "caf\u00e9" and found[-1]["caption"] == "half a pair \ufffd"
    assert found[6]["url"] == "http://a.example/fine/4"


def test_notes_that_are_not_whole_are_cut_off(tmp_path):
    results = [
        UrlResult(number, f"key {number}", "u", "ok", number, "caf\u00e9") for number in range(3)
    ]

    def noted(name: str, order: tuple[int, ...]) -> Journal:
        journal = Journal(tmp_path / name)
        for number in order:
            journal.add(results[number], b"p" * number)
        return journal

    noted("whole", (0, 1, 2)).finish(3)
    journal = noted("cut", (2, 0))
    last = (tmp_path / ".cut.log").stat().st_size
    journal.add(results[1], b"p")
    notes = (tmp_path / ".cut.log").read_bytes()
    for size in range(last, len(notes) + 1):
        (tmp_path / ".cut.log").write_bytes(notes[:size] + b"\0" * 40 * (size < len(notes)))
        journal = Journal(tmp_path / "cut")
        assert journal.statuses == {2: "ok", 0: "ok"} | ({1: "ok"} if size == len(notes) else {})
    journal.finish(3)
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()
    assert not (tmp_path / ".cut.log").exists()


STAGE = """
import sys
from pathlib import Path
from pipeline.data.url_fetch.fetcher import fetch
from pipeline.data.url_fetch.params import ClientParams, FetchParams
from pipeline.data.records import UrlRow
urls, folder, proxy = sys.argv[1:]
urls = enumerate(Path(urls).read_text().split())
rows = [UrlRow(str(number), "train", url, "c") for number, url in urls]
params = FetchParams(50, 8, 0, 90, 3, ClientParams(8, 3, 20.0, 1, "me", False))
fetch("list", lambda: rows, Path(folder), params, proxy)
"""


def started(folder: Path, urls: Path, server: Web) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", STAGE, urls, folder, server.address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(tiny.ROOT)},
    )


def answered(folder: Path, names: list[str]) -> set[str]:
    """URLs whose answers are on the disk, of files of 50."""
    urls = {row["url"] for row in table(folder)}
    for path in folder.glob(".*.parquet.log"):
        name = path.name[1:-4]
        for row in Journal(folder / name).statuses:
            urls.add(names[50 * int(name[6:11]) + row])
    return urls


def test_kills_at_random_moments_leave_no_trace_and_nothing_is_fetched_twice(tmp_path, server):
    names = [
        f"http://{name}.example/{kind}/{number}"
        for number in range(40)
        for name, kind in (
            ("a", "fine"),
            ("b", "gone"),
            ("c", "unavailable"),
            ("d", "fine"),
            ("e", "moved"),
        )
    ]
    urls = tmp_path / "urls"
    urls.write_text("\n".join(names))
    assert started(tmp_path / "alone", urls, server).wait() == 0
    once = len(server.log)
    assert once == len(names) + 40
    server.log.clear()
    server.asked.clear()
    server.pauses |= {f"{name}.example": 0.005 for name in "abcde"}
    draw, kills, done = random.Random(3), 0, {}
    while (process := started(tmp_path / "killed", urls, server)).poll() is None:
        goal = len(server.log) + draw.randint(20, 90)
        while process.poll() is None and len(server.log) < goal:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        kills += 1
        done[len(server.log)] = answered(tmp_path / "killed", names)
    assert kills >= 4
    assert contents(tmp_path / "killed") == contents(tmp_path / "alone")
    assert (
        len(server.log) <= once + kills * 2 * CLIENT.concurrency
    )  # at most what was on its way, with redirects
    for moment, urls in done.items():
        assert not urls & {url for _, url in server.log[moment:]}
    assert max(map(len, done.values())) > len(names) / 2
