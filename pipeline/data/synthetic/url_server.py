"""A loopback HTTP proxy behind which the hosts of the URL lists seem to exist.

The fetcher uses it as it would use any proxy (`GET http://images.cc3m.example/... HTTP/1.1`), so
its port occurs neither in the lists nor in the fetched files.
"""

import asyncio
import multiprocessing
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.data.synthetic.url_responses import Responder

_END = b"\r\n\r\n"
_PROCESSES = 2  # images are rendered on request, which takes longer than serving


@contextmanager
def serve(respond: Responder) -> Iterator[str]:
    """Serve responses from child processes on a free port; yields the URL of the proxy."""
    fork = multiprocessing.get_context("fork")  # `respond` need not be picklable
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        children = []
        for _ in range(_PROCESSES):
            children.append(fork.Process(target=_run, args=(listener, respond), daemon=True))
            children[-1].start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for child in children:
                child.terminate()
                child.join()


def _run(listener: socket.socket, respond: Responder) -> None:
    """Respond until terminated."""

    async def listen() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(respond), sock=listener)
        await server.serve_forever()

    asyncio.run(listen())


class _Connection(asyncio.Protocol):
    """Responds to the requests of one keep-alive connection in order."""

    def __init__(self, respond: Responder) -> None:
        self._respond = respond
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # of a TCP connection
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while _END in self._received:
            head, self._received = self._received.split(_END, 1)
            method, url, *_ = head.decode("latin-1").split(maxsplit=2)
            if method == "GET":
                self._transport.write(_response(self._respond(url)))
            else:
                self._transport.write(_head("405 Method Not Allowed", 0))


def _response(body: bytes | None) -> bytes:
    return _head("404 Not Found", 0) if body is None else _head("200 OK", len(body)) + body


def _head(status: str, length: int) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n"
        "Connection: keep-alive\r\n\r\n"
    ).encode()
