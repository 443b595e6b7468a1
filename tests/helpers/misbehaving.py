"""An HTTP server on the loopback address that serves a folder, keeps a log, and misbehaves on
demand."""

import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = b"\n<!DOCTYPE html><html><body>Please log in.</body></html>"
HANG = 1.0  # seconds


@dataclass
class Server:
    """faults: what to do to the next requests for a path, one word each; log: path, first byte
    asked for and status."""

    root: Path
    address: str = ""
    faults: dict[str, list[str]] = field(default_factory=dict)
    log: list[tuple[str, int, int]] = field(default_factory=list)


@contextmanager
def serve(root: Path) -> Iterator[Server]:
    """Serve the files under `root`."""
    server = Server(root)

    class Handler(_Handler):
        shared = server

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        listening.handle_error = lambda *words: None  # clients that hang up
        server.address = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(
            target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        thread.start()
        yield server
        listening.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shared: Server

    def log_message(self, *words: object) -> None:
        """Not on the screen."""

    def do_GET(self) -> None:
        """Answer, with the next fault of this path."""
        path = self.path.partition("?")[0].lstrip("/")
        waiting = self.shared.faults.get(path, [])
        fault = waiting.pop(0) if waiting else ""
        file = self.shared.root / re.sub(r"^http://[^/]+/", "", path)  # as a proxy is asked
        if not file.is_file():
            self._log(path, 404)
            self._answer(404, 0, b"")
            return
        data, changed = file.read_bytes(), fault in ("old", "blind old")
        if changed or fault == "other":
            data = bytes(255 - byte for byte in data)  # another file of the same length
        if fault == "shorter":
            data = data[: -len(data) // 3]
        if fault == "longer":
            data += b"more"
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        start = self._start()
        same = fault in ("blind", "elsewhere") or self.headers.get("If-Range", tag) == tag
        if not same or fault == "whole":
            start = 0
        self._misbehave(fault, path, data, tag, start)

    def _start(self) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(match[1]) if match else 0

    def _log(self, path: str, status: int) -> None:
        self.shared.log.append((path, self._start(), status))

    def _misbehave(self, fault: str, path: str, data: bytes, tag: str, start: int) -> None:
        rest = data[start:]
        head = {"ETag": tag}
        if start:
            head["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        status = 206 if start else 200
        match fault:
            case "page":
                status, rest, head = 200, PAGE, {"Content-Type": "text/html; charset=utf-8"}
            case "quiet page":
                status, rest, head = 200, PAGE, {}
            case "unavailable" | "busy" | "unsatisfiable" | "forbidden":
                status = {"unavailable": 503, "busy": 429, "unsatisfiable": 416, "forbidden": 403}[
                    fault
                ]
                rest, head = b"", {"Retry-After": "0"}
            case "elsewhere" if start:
                head["Content-Range"] = f"bytes {start - 1}-{len(data) - 1}/{len(data)}"
        self._log(path, status)
        self._answer(status, len(rest), rest, head, fault)

    def _answer(
        self,
        status: int,
        length: int,
        body: bytes,
        head: dict[str, str] | None = None,
        fault: str = "",
    ) -> None:
        self.send_response(status)
        for name, value in (head or {}).items():
            self.send_header(name, value)
        chunked = fault in ("chunked", "half")
        self.send_header(
            *(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(length)))
        )
        self.end_headers()
        if chunked:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(body) // 2, body[: len(body) // 2]))
            self.wfile.write(b"0\r\n\r\n" if fault == "half" else b"")
        elif fault in ("early", "old", "hang", "reset"):
            self.wfile.write(body[: 2 * len(body) // 3])
        else:
            self.wfile.write(body)
        self.wfile.flush()
        if fault == "hang":
            time.sleep(HANG)
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if fault in ("early", "old", "hang", "reset", "chunked"):
            self.close_connection = True
