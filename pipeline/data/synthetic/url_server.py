"""A loopback HTTP proxy behind which the hosts of the URL lists seem to exist.

The fetcher asks it as it would ask any proxy (`GET http://images.cc3m.example/... HTTP/1.1`), so
neither the lists nor the fetched files know its port.
"""

import asyncio
import multiprocessing
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_END = b"\r\n\r\n"
_PROCESSES = 2  # pictures are drawn while they are asked for, and drawing takes longer than serving


@contextmanager
def serve(images: Callable[[str], bytes | None]) -> Iterator[str]:
    """Serve `images` (URL -> body, None for 404) from child processes on a free port; yields the
    proxy's address."""
    fork = multiprocessing.get_context("fork")  # `images` need not be picklable
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        children = [
            fork.Process(target=_run, args=(listener, images), daemon=True)
            for _ in range(_PROCESSES)
        ]
        for child in children:
            child.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for child in children:
                child.terminate()
                child.join()


def _run(listener: socket.socket, images: Callable[[str], bytes | None]) -> None:
    """Answer until terminated."""

    async def answer() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(images), sock=listener)
        await server.serve_forever()

    asyncio.run(answer())


class _Connection(asyncio.Protocol):
    """Answers the requests of one keep-alive connection in order."""

    def __init__(self, images: Callable[[str], bytes | None]) -> None:
        self._images = images
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while _END in self._received:
            head, self._received = self._received.split(_END, 1)
            method, url, *_ = head.decode("latin-1").split(maxsplit=2)
            self._transport.write(
                _answer(self._images(url))
                if method == "GET"
                else _head("405 Method Not Allowed", 0)
            )


def _answer(body: bytes | None) -> bytes:
    return _head("404 Not Found", 0) if body is None else _head("200 OK", len(body)) + body


def _head(status: str, length: int) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n"
        "Connection: keep-alive\r\n\r\n"
    ).encode()
