"""Official files over HTTP: whole and checked, or absent.

aiohttp gives proxies, timeouts and truncated bodies; what a data set of a terabyte needs besides,
no library at hand has together: pooch does not resume, fsspec's HTTP checks nothing, aiohttp-retry
repeats requests but not bodies, and none tells a file that changed on the server from one that did
not.

Each file has a folder of its own, `<folder>/<name>/`: the file once it is finished, `part` before,
and what the server declared about it in `part.json`. A part is resumed only if the server confirms
that it is still of the same file, or if a checksum will verify it in the end.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, Annotated, Any

from pipeline.config.limits import Interval, Positive
from pipeline.data.download import checksums
from pipeline.data.download.manifest import Checksum, OfficialFile
from pipeline.errors import UserError
from pipeline.utils import files, workdir
from pipeline.utils.progress import Progress, size

if TYPE_CHECKING:  # importing it takes a third of a second, which only downloads pay
    from aiohttp import ClientResponse, ClientSession

_AGENT = "vl-beit (research data set downloader)"
_BUFFER = 1 << 16  # bytes; what waits in it when a connection breaks is lost
_MAX_PAUSE = 60.0  # seconds between two tries
_PERMANENT = frozenset((400, 401, 403, 404, 405, 406, 410, 451))  # another try will not help
_PAGE = "a web page in place of the file"
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class HttpParams:
    """files: fetched at the same time; timeout: seconds without a byte that end a try; retries:
    further tries in a row that bring nothing new; pause: seconds before the first of these, doubled
    from one to the next, at most a minute."""

    files: Annotated[int, Interval(1, 1_024)]
    timeout: Positive
    retries: int
    pause: float


@dataclass(frozen=True)
class _PartNote:
    """What a server declared about the file of which `part` is the beginning.

    validator: strong ETag or date, None without either; total: bytes of the whole file, None if it
    was not declared.
    """

    address: str
    validator: str | None
    total: int | None


class _TransientError(Exception):
    """A try failed, and another may not. wait: seconds that the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _PermanentError(Exception):
    """An address does not give the file."""


def finished_path(folder: Path, file: OfficialFile) -> Path:
    """The path of a file once it is finished."""
    return folder / file.name / file.name


def bytes_here(folder: Path, file: OfficialFile) -> int:
    """Bytes of a file that are in `folder`, finished or in part."""
    for path in (finished_path(folder, file), folder / file.name / "part"):
        with suppress(FileNotFoundError):
            return path.stat().st_size
    return 0


def get(wanted: Sequence[OfficialFile], folder: Path, params: HttpParams, label: str) -> None:
    """Fetch files into `folder` (see `finished_path`). What is there already, finished or in part,
    is not fetched again. `label` is for messages.

    Raises:
        UserError: there is not enough space, or some file could not be fetched; the others are
        there all the same.
    """
    missing = [file for file in wanted if not _finished(folder, file)]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    needed = sum(max(file.expected - bytes_here(folder, file), 0) for file in missing)
    if needed > (free := disk_usage(folder).free):
        raise UserError(f"{folder}: {label} needs {size(needed)} more, and {size(free)} are free")
    failures = asyncio.run(_get_all(missing, folder, params, label))
    if failures:
        raise UserError(f"{label}: {'; '.join(failures)}")


def _finished(folder: Path, file: OfficialFile) -> bool:
    """Whether a file is here. One that is not the expected file is deleted."""
    path = finished_path(folder, file)
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
    sizes = {file.name: file.expected for file in wanted}
    bar = Progress(label, sizes, sum(bytes_here(folder, file) for file in wanted))
    turns = asyncio.Semaphore(params.files)
    async with _session(params.timeout) as session:

        async def transfer(file: OfficialFile) -> str | None:
            async with turns:
                return await _Transfer(session, file, folder / file.name, params, bar).run()

        ticker = asyncio.create_task(_tick(bar))
        try:
            failures = await asyncio.gather(*map(transfer, wanted))
        finally:
            ticker.cancel()
            bar.show()
            bar.end()
    return [failure for failure in failures if failure]


def _session(timeout: float) -> "ClientSession":
    """Bodies come as they are stored; the usual environment variables name a proxy."""
    import aiohttp

    return aiohttp.ClientSession(
        trust_env=True,
        auto_decompress=False,
        read_bufsize=_BUFFER,
        headers={"User-Agent": _AGENT, "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeout, sock_read=timeout),
    )


async def _tick(bar: Progress) -> None:
    while True:
        await asyncio.sleep(bar.every)
        bar.show()


class _Transfer:
    """One file that is being fetched into `folder`."""

    def __init__(
        self,
        session: "ClientSession",
        file: OfficialFile,
        folder: Path,
        params: HttpParams,
        bar: Progress,
    ) -> None:
        self.session, self.file, self.folder = session, file, folder
        self.params, self.bar = params, bar
        self.part, self.note_path = folder / "part", folder / "part.json"
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
                except _PermanentError as error:
                    reasons.append(f"{address}: {error}")
        return f"{self.file.name} could not be had: {', '.join(reasons)}"

    async def _persist(self, address: str) -> None:
        """Try until the file is here, or so many tries in a row have brought nothing new."""
        import aiohttp

        best, idle = self._bytes_here(), 0
        while True:
            try:
                return await self._try(address)
            except aiohttp.InvalidURL:
                raise _PermanentError("not an address") from None
            except (aiohttp.ClientError, TimeoutError, ConnectionError, _TransientError) as error:
                reason, wait = str(error) or type(error).__name__, getattr(error, "wait", 0.0)
            idle = 0 if self._bytes_here() > best else idle + 1
            best = max(best, self._bytes_here())
            if idle > self.params.retries:
                raise _PermanentError(reason)
            await asyncio.sleep(min(max(wait, self.params.pause * 2**idle), _MAX_PAUSE))

    async def _try(self, address: str) -> None:
        """One request, from where the part ends."""
        note = self._note()
        start, validator = 0, None
        if note is not None:
            validator = note.validator if note.address == address else None
            if validator is not None or self.file.checksum:
                start = self._bytes_here()  # else no one could tell if the part is of another file
        if note is None or not start or start != note.total:
            await self._request(address, start, note if start else None, validator)
        await self._finish()

    async def _request(
        self, address: str, start: int, note: _PartNote | None, validator: str | None
    ) -> None:
        """Ask for the bytes from `start` on, or for all of them, and receive what comes. `note` is
        that of the part, `validator` what tells if the server still has the same file."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        if start and validator is not None:
            headers["If-Range"] = validator
        async with self.session.get(address, headers=headers) as response:
            self._check(response)
            if response.status == 206:
                total = self._check_range(response, start, note, validator)
            else:
                start, total = 0, self._total(response.content_length)
                self._begin(_PartNote(address, _validator(response), total))
            await self._receive(response, start, total)

    def _check(self, response: "ClientResponse") -> None:
        """Raises for an answer that is not the file."""
        if response.status in _PERMANENT:
            raise _PermanentError(f"http {response.status}")
        if response.status == 416:
            self._drop()
        if response.status not in (200, 206):
            seconds = response.headers.get("Retry-After", "")
            wait = float(seconds) if seconds.isdecimal() else 0.0
            raise _TransientError(f"http {response.status}", wait)
        if response.content_type == "text/html":
            raise _TransientError(_PAGE)
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity" and not self.file.name.endswith(".gz"):
            raise _TransientError("compressed on the way")

    def _check_range(
        self,
        response: "ClientResponse",
        start: int,
        note: _PartNote | None,
        validator: str | None,
    ) -> int | None:
        """Drops the part where what comes is not the rest of it. Returns the size of the whole."""
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if note is None or not match or int(match[1]) != start:
            raise self._dropped("another range than asked for")
        if match[2] not in ("*", str(note.total)):
            raise self._dropped("another range than asked for")
        if validator is not None and _validator(response) != validator:
            raise self._dropped("the file changed in between")
        return note.total

    def _total(self, declared: int | None) -> int | None:
        """The size of the whole, in bytes, which is the only guard where neither size nor checksum
        is published."""
        expected = self.file.bytes
        if declared is None:
            if expected is None and self.file.checksum is None:
                raise _TransientError("the server does not tell the size, and no checksum is known")
            return expected
        if expected is not None and declared != expected:
            raise _TransientError(f"{declared:,} bytes, the official file has {expected:,}")
        return declared

    async def _receive(self, response: "ClientResponse", start: int, total: int | None) -> None:
        """Write and hash the body as it comes."""
        await asyncio.to_thread(self._catch_up, start)
        with await asyncio.to_thread(open, self.part, "ab") as file:
            async for chunk in response.content.iter_any():
                if not self.hashed and chunk.lstrip()[:1] == b"<":
                    raise _TransientError(_PAGE)
                if total is not None and self.hashed + len(chunk) > total:
                    raise self._dropped("more bytes than announced")
                await asyncio.to_thread(self._take, file, chunk)
        if total is not None and self.hashed < total:
            raise _TransientError("the connection was closed early")

    def _take(self, file: Any, chunk: bytes) -> None:
        try:
            file.write(chunk)
            file.flush()
        except OSError as error:
            raise UserError(f"{self.part}: {error.strerror}") from None
        self.hasher.update(chunk)
        self.hashed += len(chunk)
        self.bar.advance(len(chunk))

    def _catch_up(self, start: int) -> None:
        """Hash what an earlier process has left."""
        if self.hashed != start:
            self.hasher, self.hashed = hashlib.new(self.kind), start
            checksums.feed(self.hasher, self.part)

    async def _finish(self) -> None:
        """Check the whole file, and give it its name."""
        await asyncio.to_thread(self._catch_up, self._bytes_here())
        digest = self.hasher.hexdigest()
        if self.file.checksum is None:
            fault = await asyncio.to_thread(checksums.damage, self.part, self.file.name)
        else:
            fault = checksums.checksum_fault(self.file.checksum, digest)
        if fault:
            raise self._dropped(fault)
        await asyncio.to_thread(self._sync)
        path = finished_path(self.folder.parent, self.file)
        checksums.remember(path, self.part, Checksum(self.kind, digest))
        os.replace(self.part, path)
        self.note_path.unlink()

    def _sync(self) -> None:
        """Flush the part to the disk, so that it survives a power failure."""
        with open(self.part, "rb") as file:
            os.fsync(file.fileno())

    def _note(self) -> _PartNote | None:
        return _PartNote(**files.read_json(self.note_path)) if self.note_path.exists() else None

    def _begin(self, note: _PartNote) -> None:
        """Start over with a new file, and note what is known of it before the first of its
        bytes."""
        self._drop()
        self.bar.set_size(self.file.name, note.total or self.file.expected)
        files.write_json(self.note_path, asdict(note))

    def _bytes_here(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _dropped(self, reason: str) -> _TransientError:
        """Drop the part; returns the error to raise."""
        self._drop()
        return _TransientError(reason)

    def _drop(self) -> None:
        """Delete the part and its note."""
        self.bar.advance(-self._bytes_here())
        self.part.unlink(missing_ok=True)
        self.note_path.unlink(missing_ok=True)
        self.hasher, self.hashed = hashlib.new(self.kind), 0


def _validator(response: "ClientResponse") -> str | None:
    """What changes with the file: its strong ETag, or else its date."""
    tag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified") if tag.startswith("W/") else tag
