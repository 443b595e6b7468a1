"""Official files over HTTP: whole and checked, or not there at all.

aiohttp gives proxies, timeouts and bodies cut short; what a data set of a terabyte needs beyond
them no library at hand has together: pooch does not resume, fsspec's HTTP checks nothing,
aiohttp-retry repeats requests but not bodies, and none tells a file that changed on the server from
one that did not.

Each file has a folder of its own, `<folder>/<name>/`: the file once it is finished, `part` before,
and what the server said of it in `part.json`. A part is gone on with only if the server confirms
that it is still of the same file, or if a checksum will tell in the end.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, Any

from pipeline.data.download import checksums
from pipeline.data.download.manifest import Checksum, OfficialFile
from pipeline.errors import UserError
from pipeline.utils import files, workdir
from pipeline.utils.progress import Progress, size

if TYPE_CHECKING:  # a third of a second that only downloads pay
    from aiohttp import ClientResponse, ClientSession

_AGENT = "vl-beit (research data set downloader)"
_BUFFER = 1 << 16  # bytes; what waits in it when a connection breaks is lost
_LONGEST = 60.0  # seconds between two tries
_FOREVER = frozenset((400, 401, 403, 404, 405, 406, 410, 451))  # another try will not help
_PAGE = "a web page in place of the file"
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class HttpParams:
    """files: fetched at the same time; timeout: seconds without a byte that end a try; retries:
    further tries in a row that bring nothing new; pause: seconds before the first of these, doubled
    from one to the next, at most a minute."""

    files: int
    timeout: float
    retries: int
    pause: float


class _Passing(Exception):
    """A try failed, and another may not. wait: seconds that the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _Final(Exception):
    """An address does not give the file."""


def place(folder: Path, file: OfficialFile) -> Path:
    """Where a file is when it is finished."""
    return folder / file.name / file.name


def have(folder: Path, file: OfficialFile) -> int:
    """Bytes of a file that are here."""
    for path in (place(folder, file), folder / file.name / "part"):
        with suppress(FileNotFoundError):
            return path.stat().st_size
    return 0


def get(wanted: Sequence[OfficialFile], folder: Path, params: HttpParams, label: str) -> None:
    """Fetch files into `folder` (see `place`). What is there already, finished or in part, is not
    fetched again.

    Raises:
        UserError: there is not enough space, or some file could not be had; the others are there
        all the same.
    """
    left = [file for file in wanted if not _finished(folder, file)]
    if not left:
        return
    folder.mkdir(parents=True, exist_ok=True)
    missing = sum(max(file.expected - have(folder, file), 0) for file in left)
    if missing > (free := disk_usage(folder).free):
        raise UserError(f"{folder}: {label} needs {size(missing)} more, and {size(free)} are free")
    failed = asyncio.run(_get_all(left, folder, params, label))
    if failed:
        raise UserError(f"{label}: {'; '.join(failed)}")


def _finished(folder: Path, file: OfficialFile) -> bool:
    """Whether a file is here. One that is not what is asked for goes."""
    path = place(folder, file)
    if not path.exists():
        return False
    if checksums.fault(path, file) is None:
        return True
    path.unlink()
    return False


async def _get_all(
    wanted: Sequence[OfficialFile], folder: Path, params: HttpParams, label: str
) -> list[str]:
    """What went wrong, file by file."""
    import aiohttp

    bar = Progress(
        label,
        {file.name: file.expected for file in wanted},
        sum(have(folder, file) for file in wanted),
    )
    turns = asyncio.Semaphore(params.files)
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=params.timeout, sock_read=params.timeout
    )
    async with aiohttp.ClientSession(
        trust_env=True,
        auto_decompress=False,
        read_bufsize=_BUFFER,
        headers={"User-Agent": _AGENT, "Accept-Encoding": "identity"},
        timeout=timeout,
    ) as session:

        async def one(file: OfficialFile) -> str | None:
            async with turns:
                return await _Transfer(session, file, folder / file.name, params, bar).run()

        ticker = asyncio.create_task(_tick(bar))
        try:
            failures = await asyncio.gather(*map(one, wanted))
        finally:
            ticker.cancel()
            bar.show()
            bar.end()
    return [failure for failure in failures if failure]


async def _tick(bar: Progress) -> None:
    while True:
        await asyncio.sleep(bar.every)
        bar.show()


class _Transfer:
    """One file on its way."""

    def __init__(
        self,
        session: "ClientSession",
        file: OfficialFile,
        folder: Path,
        params: HttpParams,
        bar: Progress,
    ):
        self.session, self.file, self.folder, self.params, self.bar = (
            session,
            file,
            folder,
            params,
            bar,
        )
        self.part, self.note = folder / "part", folder / "part.json"
        self.kind = file.checksum.kind if file.checksum else "sha256"
        self.hasher, self.hashed = hashlib.new(self.kind), 0

    async def run(self) -> str | None:
        """Fetch the file from the first address that gives it. Returns why none does."""
        self.folder.mkdir(exist_ok=True)
        reasons = []
        with workdir.locked(self.folder, timeout=0):
            for address in self.file.addresses:
                try:
                    await self._persist(address)
                    return None
                except _Final as error:
                    reasons.append(f"{address}: {error}")
        return f"{self.file.name} could not be had: {', '.join(reasons)}"

    async def _persist(self, address: str) -> None:
        """Try until the file is here, or so many tries in a row have brought nothing new."""
        import aiohttp

        best, idle = self._have(), 0
        while True:
            try:
                return await self._try(address)
            except aiohttp.InvalidURL:
                raise _Final("not an address") from None
            except (aiohttp.ClientError, TimeoutError, ConnectionError, _Passing) as error:
                reason, wait = str(error) or type(error).__name__, getattr(error, "wait", 0.0)
            idle = 0 if self._have() > best else idle + 1
            best = max(best, self._have())
            if idle > self.params.retries:
                raise _Final(reason)
            await asyncio.sleep(min(max(wait, self.params.pause * 2**idle), _LONGEST))

    async def _try(self, address: str) -> None:
        """One request, from where the part ends."""
        said = files.read_json(self.note) if self.note.exists() else {}
        same = said.get("address") == address and said["validator"] is not None
        # The server or the checksum tells if the part is of another file; else it is of no use.
        start = self._have() if said and (same or self.file.checksum) else 0
        if not start or start != said["total"]:
            headers = {"Range": f"bytes={start}-"} if start else {}
            headers |= {"If-Range": said["validator"]} if start and same else {}
            async with self.session.get(address, headers=headers) as response:
                self._check(response)
                if response.status == 206:
                    self._check_rest(response, start, said, same)
                    total = said["total"]
                else:
                    start, total = 0, self._total(response.content_length)
                    self._begin(address, _validator(response), total)
                await self._receive(response, start, total)
        await self._finish()

    def _check(self, response: "ClientResponse") -> None:
        """Raises for an answer that is not the file."""
        if response.status in _FOREVER:
            raise _Final(f"http {response.status}")
        if response.status == 416:
            self._drop()
        if response.status not in (200, 206):
            asked = response.headers.get("Retry-After", "")
            raise _Passing(f"http {response.status}", float(asked) if asked.isdecimal() else 0.0)
        if response.content_type == "text/html":
            raise _Passing(_PAGE)
        if response.headers.get(
            "Content-Encoding", "identity"
        ) != "identity" and not self.file.name.endswith(".gz"):
            raise _Passing("compressed on the way")

    def _check_rest(
        self, response: "ClientResponse", start: int, said: dict[str, Any], same: bool
    ) -> None:
        """A part is thrown away where what comes is not the rest of it."""
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if (
            not start
            or not found
            or int(found[1]) != start
            or found[2] not in ("*", str(said["total"]))
        ):
            self._drop()
            raise _Passing("another range than asked for")
        if same and _validator(response) != said["validator"]:
            self._drop()
            raise _Passing("the file changed in between")

    def _total(self, told: int | None) -> int | None:
        """The size of the whole, which is the only guard where neither size nor checksum is
        published."""
        expected = self.file.bytes
        if told is None and expected is None and self.file.checksum is None:
            raise _Passing("the server does not tell the size, and no checksum is known")
        if None not in (told, expected) and told != expected:
            raise _Passing(f"{told:,} bytes, the official file has {expected:,}")
        return expected if told is None else told

    async def _receive(self, response: "ClientResponse", start: int, total: int | None) -> None:
        """Write and hash the body as it comes."""
        await asyncio.to_thread(self._catch_up, start)
        with open(self.part, "ab") as file:
            async for chunk in response.content.iter_any():
                if not self.hashed and chunk.lstrip()[:1] == b"<":
                    raise _Passing(_PAGE)
                if total is not None and self.hashed + len(chunk) > total:
                    self._drop()
                    raise _Passing("more bytes than announced")
                await asyncio.to_thread(self._take, file, chunk)
        if total is not None and self.hashed < total:
            raise _Passing("the connection was closed early")

    def _take(self, file: Any, chunk: bytes) -> None:
        try:
            file.write(chunk)
            file.flush()
        except OSError as error:
            raise UserError(f"{self.part}: {error.strerror}") from None
        self.hasher.update(chunk)
        self.hashed += len(chunk)
        self.bar.move(len(chunk))

    def _catch_up(self, start: int) -> None:
        """Hash what an earlier process has left."""
        if self.hashed != start:
            self.hasher, self.hashed = hashlib.new(self.kind), start
            checksums.feed(self.hasher, self.part)

    async def _finish(self) -> None:
        """Check the whole, and give it its name."""
        await asyncio.to_thread(self._catch_up, self._have())
        digest = self.hasher.hexdigest()
        wrong = checksums.checksum_fault(self.file, digest)
        if self.file.checksum is None:
            wrong = await asyncio.to_thread(checksums.damage, self.part, self.file.name)
        if wrong:
            self._drop()
            raise _Passing(wrong)
        with open(self.part, "rb") as file:
            os.fsync(file.fileno())
        path = place(self.folder.parent, self.file)
        checksums.remember(path, self.part, Checksum(self.kind, digest))
        os.replace(self.part, path)
        self.note.unlink()

    def _begin(self, address: str, validator: str | None, total: int | None) -> None:
        """Note what the server says of a file before the first of its bytes."""
        self._drop()
        self.bar.expect(self.file.name, total or self.file.expected)
        files.write_json(self.note, {"address": address, "validator": validator, "total": total})

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _drop(self) -> None:
        """Start over."""
        self.bar.move(-self._have())
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.hasher, self.hashed = hashlib.new(self.kind), 0


def _validator(response: "ClientResponse") -> str | None:
    """What changes with the file: its strong ETag, or else its date."""
    tag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified") if tag.startswith("W/") else tag
