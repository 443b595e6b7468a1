"""A small web that misbehaves: any host, by way of a proxy on the loopback address. It logs all
requests."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

from PIL import Image


def jpeg(seed: int = 0, width: int = 40, height: int = 30) -> bytes:
    """A JPEG that differs from those of other seeds."""
    image = Image.new("RGB", (width, height), (seed % 251, seed // 251 % 251, 90))
    image.save(buffer := BytesIO(), "JPEG", comment=str(seed))
    return buffer.getvalue()


class Web(ThreadingHTTPServer):
    """Answers `http://<host>/<behavior>/<number>`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.log: list[tuple[float, str]] = []  # time and URL of every request
        self.asked: Counter[str] = Counter()  # requests for each URL
        self.agents: set[str] = set()
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()  # requests at a time: of each host, and "" of all
        self.pauses: dict[str, float] = defaultdict(float)  # host: seconds before it answers
        self.holds: dict[str, Callable[[], bool]] = {}  # host: answers only when this is true
        self.closing = threading.Event()
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def times(self, part: str) -> list[float]:
        """When URLs that contain `part` were requested."""
        return [moment for moment, url in self.log if part in url]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together
    server: Web

    def do_GET(self) -> None:
        host, behavior, number = (self.path.removeprefix("http://").split("/") + ["0"])[:3]
        number = int(number.partition("?")[0])
        with self.server.lock:
            self.server.log.append((time.monotonic(), self.path))
            self.server.asked[self.path] += 1
            self.server.agents.add(self.headers["User-Agent"])
            first = self.server.asked[self.path] == 1
            for name in (host, ""):
                self.server.running[name] += 1
                self.server.most[name] = max(self.server.most[name], self.server.running[name])
        time.sleep(self.server.pauses[host])
        while host in self.server.holds and not self.server.holds[host]():
            if self.server.closing.wait(0.01):
                return
        with self.server.lock:
            self.server.running.subtract((host, ""))
        getattr(self, behavior, self.fine)(host, number, first)

    def answer(
        self, status: int = 200, body: bytes = b"", length: int | None = None, **headers: str
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = length is not None

    def fine(self, host: str, number: int, first: bool) -> None:
        self.answer(body=jpeg(number))

    def gone(self, *_: object) -> None:
        self.answer(404)

    def empty(self, *_: object) -> None:
        self.answer()

    def page(self, *_: object) -> None:
        self.answer(body=b"<html>no image any more</html>", Content_Type="image/jpeg")

    def unavailable(self, *_: object) -> None:
        self.answer(body=jpeg(77, 20, 20))

    def tiny(self, *_: object) -> None:
        self.answer(body=jpeg(1, 1, 40))

    def wide(self, host: str, number: int, first: bool) -> None:
        self.answer(body=jpeg(number, 400, 100))

    def broken(self, *_: object) -> None:
        self.answer(body=jpeg(3, 400, 300)[:-900])

    def slow(self, *_: object) -> None:
        time.sleep(1.0)
        self.answer(body=jpeg())

    def flaky(self, host: str, number: int, first: bool) -> None:
        self.answer(503) if first else self.answer(body=jpeg(number))

    def busy(self, host: str, number: int, first: bool) -> None:
        self.answer(429, Retry_After="1") if first else self.answer(body=jpeg(number))

    def moved(self, host: str, number: int, first: bool) -> None:
        self.answer(301, Location=f"http://new.example/fine/{number}")

    def loop(self, *_: object) -> None:
        self.answer(302, Location=self.path)

    def nowhere(self, *_: object) -> None:
        self.answer(302, Location="gopher://a/b")

    def promises(self, *_: object) -> None:
        self.answer(body=jpeg(), length=5000)

    def hides(self, *_: object) -> None:
        """A longer body than is declared."""
        self.answer(body=jpeg(5) + b"more" * 50, length=len(jpeg(5)))

    def giant(self, *_: object) -> None:
        self.answer(body=jpeg(), length=1 << 40)

    def endless(self, *_: object) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(100):
            self.wfile.write(jpeg() * 50)
        self.close_connection = True

    def private(self, *_: object) -> None:
        self.answer(body=jpeg(), X_Robots_Tag="noai, noimageai")

    def nonsense(self, *_: object) -> None:
        self.wfile.write(b"220 mail.example ESMTP\r\n")
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def web() -> Iterator[Web]:
    with Web() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()
