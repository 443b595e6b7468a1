"""The fetcher against a small server that misbehaves."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow.parquet as pq
import pytest

from pipeline.fetch import fetch
from pipeline.origins import FetchParams
from pipeline.sources.records import UrlRow

PICTURE = b"\xff\xd8\xff" + b"picture" * 100
PARAMS = FetchParams(concurrency=4, timeout=0.5, retries=1, rows_per_file=3)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: Counter[str] = Counter()

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[1]
        self.asked[self.path] += 1
        if name == "slow":
            time.sleep(1.5)
        if name == "gone" or (name == "flaky" and self.asked[self.path] == 1):
            self.send_error(404 if name == "gone" else 503)
        elif name == "moved":
            self.send_response(302)
            self.send_header("Location", self.path.replace("moved", "fine"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.answer({"empty": b"", "page": b"<html>no</html>"}.get(name, PICTURE), cut=name == "cut")

    def answer(self, body: bytes, cut: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + 10 * cut))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = cut

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has lost patience is no error here."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked = Counter()
    with Server(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def rows(names: list[str], base: str, split: str = "train") -> list[UrlRow]:
    return [UrlRow(f"{split}_{number}", split, f"{base}/{name}" if name else "", f"caption {number}")
            for number, name in enumerate(names)]


def test_every_url_gets_a_status_in_list_order(tmp_path, server):
    names = ["fine", "gone", "empty", "page", "slow", "flaky", "moved", "cut", "", "fine"]
    statuses = ["ok", "http 404", "empty", "not an image", "timeout", "ok", "ok", "connection error", "no url", "ok"]
    counts = fetch([*rows(names, server), *rows(["fine"], server, "val")], tmp_path, PARAMS)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [f"train-{number:05d}.parquet" for number in range(4)] + ["val-00000.parquet"]
    table = [row for name in files for row in pq.read_table(tmp_path / name).to_pylist()]
    assert [row["status"] for row in table] == [*statuses, "ok"]
    assert [row["key"] for row in table] == [f"train_{number}" for number in range(10)] + ["val_0"]
    assert all(row["image"] == (PICTURE if row["status"] == "ok" else None) for row in table)
    assert counts == Counter([*statuses, "ok"])
    assert Handler.asked["/gone"] == 1 and Handler.asked["/slow"] == 2  # only passing failures are tried again


def test_finished_files_are_kept(tmp_path, server):
    first = fetch(rows(["fine"] * 5, server), tmp_path, PARAMS)
    (tmp_path / "train-00001.parquet").unlink()
    before = (tmp_path / "train-00000.parquet").read_bytes()
    assert fetch(rows(["fine"] * 5, server), tmp_path, PARAMS) == first
    assert Handler.asked["/fine"] == 5 + 2
    assert (tmp_path / "train-00000.parquet").read_bytes() == before


def test_a_proxy_answers_for_any_host_and_bytes_repeat(tmp_path, server):
    for name in ("one", "two"):
        counts = fetch(rows(["fine", "gone", "fine"], "http://pictures.example"), tmp_path / name, PARAMS, server)
        assert counts == {"ok": 2, "http 404": 1}
    one, two = (tmp_path / name / "train-00000.parquet" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_nonsense_urls_are_only_a_status(tmp_path):
    urls = ["http://", "gopher://a/b", "not a url", "http://127.0.0.1:1/x"]
    odd = [UrlRow(str(number), "train", url, "c") for number, url in enumerate(urls)]
    fetch(odd, tmp_path, FetchParams(4, 2.0, 0, 10))
    assert pq.read_table(tmp_path / "train-00000.parquet")["status"].to_pylist() == [
        "bad url", "bad url", "bad url", "connection error"]
