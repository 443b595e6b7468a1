"""URLs of hosts that never end, never begin, or lie: each gets a status, in bounded time."""

import gzip
import socket
import threading
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.data.records import UrlRow
from pipeline.data.url_fetch import fetcher, host_queue, request
from pipeline.data.url_fetch.fetcher import fetch
from pipeline.data.url_fetch.params import ClientParams, FetchParams
from pipeline.errors import UserError
from tests.helpers import raw_server, web_server

CLIENT = ClientParams(
    concurrency=64, per_host=64, timeout=0.5, retries=0, contact="me", allow_private=False
)
PARAMS = FetchParams(
    rows_per_file=100, min_side=8, max_side=0, quality=90, placeholder=90, client=CLIENT
)
STATUSES = {
    "never answers": "timeout",
    "drips its status": "not http",
    "drips its head": "timeout",
    "endless head": "not http",
    "long line": "not http",
    "endless 100": "timeout",
    "drips 100": "timeout",
    "drips its body": "timeout",
    "drips without size": "timeout",
    "drips chunks": "timeout",
    "drips a chunk size": "timeout",
    "endless": "too large",
    "endless chunks": "too large",
    "negative size": "not http",
    "two sizes": "not http",
    "size 2^63": "too large",
    "size 2^64": "not http",
    "size 10^40": "not http",
    "size of words": "not http",
    "redirects to itself": "too many redirects",
    "no http": "not http",
    "closes": "connection error",
    "one byte": "cut short",
    "status -1": "not http",
    "status 999": "http 999",
}


def statuses(folder: Path, urls: list[str], params: FetchParams, proxy: str | None) -> list[str]:
    rows = [UrlRow(str(number), "train", url, "caption") for number, url in enumerate(urls)]
    fetch("list", lambda: rows, folder, params, proxy)
    return pq.read_table(folder / "train-00000.parquet")["status"].to_pylist()


def test_each_host_gets_a_status(tmp_path, monkeypatch):
    monkeypatch.setattr(request, "MAX_BYTES", 1 << 20)
    assert STATUSES.keys() == raw_server.BEHAVIORS.keys()
    behaviors = {name.replace(" ", "%20"): does for name, does in raw_server.BEHAVIORS.items()}
    with raw_server.serve(behaviors) as server:
        urls = [f"http://{number}.example/{name}" for number, name in enumerate(STATUSES)]
        found = statuses(tmp_path, urls, PARAMS, server.address)
    assert dict(zip(STATUSES, found, strict=True)) == STATUSES


def test_a_body_that_unpacks_to_more_than_a_body_may_have(tmp_path, monkeypatch):
    """Bodies are asked for as they are; some hosts pack them all the same."""
    monkeypatch.setattr(request, "MAX_BYTES", 1 << 20)
    taken = []
    whole = request._read

    async def counted(response):
        answer = await whole(response)
        taken.append(response.content.total_bytes)
        return answer

    monkeypatch.setattr(request, "_read", counted)
    packed = BytesIO()
    with gzip.open(packed, "wb") as file:
        for _ in range(200):
            file.write(bytes(1 << 20))
    body = packed.getvalue()
    image = gzip.compress(web_server.jpeg(1))
    head = raw_server.OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    behaviors = {
        "bomb": raw_server.says(head % len(body), body),
        "image": raw_server.says(head % len(image), image),
        "damaged": raw_server.says(head % 4, b"\x1f\x8bno"),
    }
    with raw_server.serve(behaviors) as server:
        urls = [f"http://a.example/{name}" for name in behaviors]
        params = replace(PARAMS, client=replace(CLIENT, timeout=20.0))
        found = statuses(tmp_path, urls, params, server.address)
    assert found == ["too large", "ok", "cut short"]
    assert max(taken) < 64 << 20


def test_a_resolver_that_hangs_holds_nobody_else(tmp_path, monkeypatch):
    real, released = request.ask, threading.Event()

    def lookup(host, *rest, **more):
        if host == "hangs.example":
            released.wait(60)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def ask(opened, url):
        answer = await real(opened, url)
        if url.host == "hangs.example":
            released.set()  # or the thread would be waited for at the end
        return answer

    monkeypatch.setattr(request, "ask", ask)
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    urls = ["http://hangs.example/a", *(f"http://{number}.example/a" for number in range(9))]
    assert statuses(tmp_path, urls, PARAMS, None) == ["timeout", *["no such host"] * 9]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f.1"])
def test_no_list_and_no_redirect_reaches_this_machine(tmp_path, host):
    image = web_server.jpeg(1)
    body = raw_server.says(raw_server.OK, b"Content-Length: %d\r\n\r\n" % len(image), image)
    with raw_server.serve({"inside": body}) as inner, raw_server.serve({}) as proxy:
        url = f"http://{host}:{inner.server_address[1]}/inside"
        head = f"HTTP/1.1 302 x\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n"
        proxy.behaviors["moved"] = raw_server.says(head.encode())
        assert statuses(tmp_path / "listed", [url], PARAMS, None) == ["private address"]
        moved = ["http://public.example/moved"]
        assert statuses(tmp_path / "moved", moved, PARAMS, proxy.address) == ["private address"]
        assert not inner.asked
        allowed = replace(PARAMS, client=replace(CLIENT, allow_private=True, timeout=20.0))
        url = url.replace(host, "127.0.0.1")
        assert statuses(tmp_path / "allowed", [url], allowed, None) == ["ok"]


def test_passwords_of_this_machine_go_to_no_host_of_a_list(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine a.example login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with raw_server.serve({"x": raw_server.says(raw_server.OK, b"\r\n")}) as server:
        monkeypatch.setenv("http_proxy", server.address)
        statuses(tmp_path / "out", ["http://a.example/x"], PARAMS, None)
    (head,) = server.asked
    assert "authorization" not in head.lower()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_is_no_answer_of_hosts(tmp_path, monkeypatch, scheme):
    monkeypatch.setattr(fetcher, "_MAX_SILENCE", 10)
    refusal = b"HTTP/1.1 407 x\r\nContent-Length: 0\r\n\r\n"
    names = [f"{number}.example:443" for number in range(20)]
    behaviors = dict.fromkeys(["x", *names], raw_server.says(refusal))
    with raw_server.serve(behaviors) as server:
        urls = [f"{scheme}://{name}/x" for name in names]
        with pytest.raises(UserError, match="no answer from any of the last 10 URLs"):
            statuses(tmp_path, urls, PARAMS, server.address)


def test_a_host_that_only_wants_rest_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(fetcher, "_BACKOFF", 0.0)
    monkeypatch.setattr(host_queue, "MAX_REST", 0.02)
    monkeypatch.setattr(host_queue, "MAX_RESTED", 0.1)
    busy = raw_server.says(
        b"HTTP/1.1 429 x\r\nRetry-After: 9999999999\r\nContent-Length: 0\r\n\r\n"
    )
    with raw_server.serve({"busy": busy}) as server:
        client = replace(CLIENT, per_host=1, retries=2, timeout=20.0)
        urls = ["http://busy.example/busy"] * 90
        found = statuses(tmp_path, urls, replace(PARAMS, client=client), server.address)
    assert found == ["http 429"] * 90
    assert len(server.asked) == 6
