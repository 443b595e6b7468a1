"""A stand-in of the Hugging Face hub: as much of its HTTP interface as uploading and fetching small
models takes."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Models by name, each with its files."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models: dict[str, dict[str, bytes]] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if name not in self.server.models:
            self._answer(404, {"X-Error-Code": "RepoNotFound"})
        elif parts[0] == "api" and "tree" in parts:
            self._json([_entry(path, data) for path, data in self._files(name)])
        elif parts[0] == "api":
            siblings = [{"rfilename": path} for path, _ in self._files(name)]
            self._json({"id": name, "sha": COMMIT, "siblings": siblings})
        else:
            self._file(name, "/".join(parts[4:]))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path).path.strip("/").split("/")
        name = "/".join(parts[2:4])
        if self.path == "/api/repos/create":
            repo = json.loads(body)
            name = "/".join(filter(None, (repo.get("organization"), repo["name"])))
            self.server.models.setdefault(name, {})
            self._json({"url": f"{self.server.address}/{name}", "name": name, "id": name})
        elif self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif "preupload" in parts:
            asked = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular"} for file in asked]
            self._json({"files": [mode | {"shouldIgnore": False} for mode in modes]})
        elif "commit" in parts:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.models[name][line["value"]["path"]] = content
            url = f"{self.server.address}/{name}/commit/{COMMIT}"
            self._json({"commitUrl": url, "commitOid": COMMIT, "success": True})
        else:
            self._answer(404, {})

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""

    def _files(self, name: str) -> list[tuple[str, bytes]]:
        return sorted(self.server.models[name].items())

    def _file(self, name: str, path: str) -> None:
        content = self.server.models[name].get(path)
        if content is None:
            self._answer(404, {"X-Error-Code": "EntryNotFound"})
            return
        tags = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        self._answer(200, tags, content)

    def _json(self, value: object) -> None:
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _answer(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _entry(path: str, content: bytes) -> dict[str, object]:
    digest = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": digest}


@contextmanager
def hub() -> Iterator[Hub]:
    """A hub that runs."""
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
