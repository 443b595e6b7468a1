"""A server that writes whatever bytes it likes, for as long as the client stays."""

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Behavior = Callable[[socket.socket], None]
_PAUSE = 0.02  # seconds between the pieces of what drips


class RawServer(socketserver.ThreadingTCPServer):
    """Answers `/<name>` by the behavior of that name."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, behaviors: dict[str, Behavior]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviors = behaviors
        self.asked: list[str] = []  # heads of requests

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error here."""


class _Handler(socketserver.BaseRequestHandler):
    server: RawServer

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (data := self.request.recv(1 << 16)):
                return
            head += data
        self.server.asked.append(head.decode("latin-1"))
        name = head.split(b" ")[1].partition(b"?")[0].rpartition(b"/")[2].decode()
        self.server.behaviors[name](self.request)


@contextmanager
def serve(behaviors: dict[str, Behavior]) -> Iterator[RawServer]:
    with RawServer(behaviors) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def says(*pieces: bytes) -> Behavior:
    """These bytes, and the connection is closed."""
    return lambda connection: connection.sendall(b"".join(pieces))


def repeats(start: bytes, piece: bytes, pause: float = 0.0) -> Behavior:
    """`start`, and then `piece` until the client leaves."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)
            time.sleep(pause)

    return behave


def drips(start: bytes, piece: bytes = b"x") -> Behavior:
    """As `repeats`, slowly."""
    return repeats(start, piece, _PAUSE)


def waits(connection: socket.socket) -> None:
    """Nothing, until the client leaves."""
    connection.recv(1)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BEHAVIORS: dict[str, Behavior] = {
    "never answers": waits,
    "drips its status": drips(b"HTTP/1.1 "),
    "drips its head": drips(OK, b"X-A: b\r\n"),
    "endless head": repeats(OK, b"X-A: " + b"b" * 4000 + b"\r\n"),
    "long line": says(OK, b"X-A: ", b"b" * 1_000_000, b"\r\n\r\n"),
    "endless 100": repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips 100": drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips its body": drips(OK + b"Content-Length: 5000\r\n\r\n"),
    "drips without size": drips(OK + b"\r\n"),
    "drips chunks": drips(CHUNKED, b"1\r\nx\r\n"),
    "endless": repeats(OK + b"\r\n", b"x" * 65536),
    "endless chunks": repeats(CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    "drips a chunk size": drips(CHUNKED, b"0"),
    "negative size": says(OK, b"Content-Length: -1\r\n\r\nxx"),
    "two sizes": says(OK, b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
    "size 2^63": says(OK, b"Content-Length: 9223372036854775808\r\n\r\nxx"),
    "size 2^64": says(OK, b"Content-Length: 18446744073709551616\r\n\r\nxx"),
    "size 10^40": says(OK, b"Content-Length: 1" + b"0" * 40 + b"\r\n\r\nxx"),
    "size of words": says(OK, b"Content-Length: many\r\n\r\nxx"),
    "redirects to itself": says(
        b"HTTP/1.1 302 x\r\nLocation: redirects%20to%20itself\r\nContent-Length: 0\r\n\r\n"
    ),
    "no http": says(b"220 mail.example ESMTP\r\n"),
    "closes": says(),
    "one byte": says(OK, b"Content-Length: 5000\r\n\r\nx"),
    "status -1": says(b"HTTP/1.1 -1 x\r\n\r\n"),
    "status 999": says(b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n"),
}
