"""The transfer of one official file over HTTP, through whatever a server does.

Each file has a folder of its own: the file once it is finished, `part` before, and what the server
declared about it in `part.json`. A part is resumed only if the server confirms that it is still of
the same file, or if a checksum will verify it in the end.
"""

import asyncio
import hashlib
import io
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING

from pipeline.data.download import checksums
from pipeline.data.download.manifest import Checksum, OfficialFile
from pipeline.data.download.params import HttpParams
from pipeline.data.web import urls
from pipeline.errors import UserError
from pipeline.utils import files, workdir
from pipeline.utils.progress import ByteProgress, size

if TYPE_CHECKING:  # importing it takes a third of a second, which only downloads pay
    from aiohttp import ClientResponse

    from pipeline.data.web.client import Client

_MAX_PAUSE = 60.0  # seconds between two tries
_PERMANENT = frozenset((400, 401, 403, 404, 405, 406, 410, 451))  # another try will not help
_PAGE = "a web page in place of the file"
_MAX_REDIRECTS = 10
_SLOWEST = 1000  # bytes per second: with less, a file is not worth the wait
_ROOM = 4  # a file of unknown size may be so many times as large as is expected
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class _PartNote:
    """What a server declared about the file of which `part` is the beginning.

    address: a hash of it, since it may hold a password; validator: strong ETag or date, None without either; total: bytes of the whole file, None if it
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


def is_file(path: Path) -> bool:
    """Whether there is such a file. Raises UserError for what is none: reading a FIFO would never
    end."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a file; remove it and run the stage again")
    return path.exists()


class Transfer:
    """One file that is being fetched to `path`, into a folder of its own."""

    def __init__(
        self,
        client: "Client",
        file: OfficialFile,
        path: Path,
        params: HttpParams,
        bar: ByteProgress,
    ) -> None:
        self.client, self.file, self.path, self.folder = client, file, path, path.parent
        self.params, self.bar = params, bar
        self.part, self.note_path = path.with_name("part"), path.with_name("part.json")
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
                    reasons.append(f"{urls.shown(address)}: {error}")
        return f"{self.file.name} could not be had: {', '.join(reasons)}"

    async def _persist(self, address: str) -> None:
        """Try until the file is here, or so many tries in a row have brought next to nothing: the
        time for a file is limited by its size."""
        import aiohttp

        now = asyncio.get_running_loop().time
        best, idle, since = self._bytes_here(), 0, now()
        while True:
            try:
                return await self._try(address)
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                reason, wait = _reason(error), 0.0
            except _TransientError as error:
                reason, wait = str(error), error.wait
            enough = best + _SLOWEST * max(now() - since, 1.0)
            idle = 0 if self._bytes_here() >= enough else idle + 1
            best, since = max(best, self._bytes_here()), now()
            if idle > self.params.retries:
                raise _PermanentError(reason)
            await asyncio.sleep(min(max(wait, self.params.pause * 2**idle), _MAX_PAUSE))

    async def _try(self, address: str) -> None:
        """One request, from where the part ends."""
        note = self._note()
        start, validator = 0, None
        if note is not None:
            validator = note.validator if note.address == _hashed(address) else None
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
        async with self._response(address, headers) as response:
            self._check(response)
            if response.status == 206:
                total = self._check_range(response, start, note, validator)
            else:
                start, total = 0, self._total(response.content_length)
                self._begin(_PartNote(_hashed(address), _validator(response), total))
                self._check_room(total)
            await self._receive(response, start, total)

    @asynccontextmanager
    async def _response(
        self, address: str, headers: dict[str, str]
    ) -> "AsyncIterator[ClientResponse]":
        """The response that redirects lead to; its head has to be here within the timeout, however
        slowly it comes. The host that is listed is trusted, others are where it leads."""
        from pipeline.data.web.client import redirect

        url = listed = urls.exact(address)
        for _ in range(_MAX_REDIRECTS + 1):
            if url is None or listed is None:
                raise _PermanentError("not an address")
            async with asyncio.timeout(self.params.timeout) as limit:
                request = self.client.get(url, trusted=url.host == listed.host, headers=headers)
                async with request as response:
                    limit.reschedule(None)
                    if (url := redirect(response)) is None:
                        yield response
                        return
        raise _PermanentError("too many redirects")

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
        if expected is None and self.file.about and declared > _ROOM * self.file.about:
            raise _TransientError(f"{size(declared)}, about {size(self.file.about)} are expected")
        if expected is not None and declared != expected:
            raise _TransientError(f"{declared:,} bytes, the official file has {expected:,}")
        return declared

    def _check_room(self, total: int | None) -> None:
        """Raises where the disk has no room for so many bytes."""
        if total is not None and total > (free := disk_usage(self.folder).free):
            raise _PermanentError(f"{size(total)} to come, and {size(free)} are free")

    def _most(self) -> int:
        """Bytes at which a file ends that nobody knows the size of."""
        return _ROOM * self.file.expected or disk_usage(self.folder).free // 2

    async def _receive(self, response: "ClientResponse", start: int, total: int | None) -> None:
        """Write and hash the body as it comes."""
        await asyncio.to_thread(self._catch_up, start)
        most = self._most() if total is None else total
        with await asyncio.to_thread(open, self.part, "ab", buffering=0) as file:
            async for chunk in _chunks(response, self.params.timeout):
                if not self.hashed and chunk.lstrip()[:1] == b"<":
                    raise _TransientError(_PAGE)
                if self.hashed + len(chunk) > most:
                    raise self._dropped("more bytes than announced" if total else "without an end")
                await asyncio.to_thread(self._take, file, chunk)
        if total is not None and self.hashed < total:
            raise _TransientError("the connection was closed early")

    def _take(self, file: io.FileIO, chunk: bytes) -> None:
        try:
            files.write_all(file, chunk)
        except OSError as error:
            raise UserError(
                f"{self.part}: {error.strerror}; what is here is kept: run the stage again, it "
                "goes on from there"
            ) from None
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
        checksums.remember(self.path, self.part, Checksum(self.kind, digest))
        os.replace(self.part, self.path)
        self.note_path.unlink()

    def _sync(self) -> None:
        """Flush the part to the disk, so that it survives a power failure."""
        with open(self.part, "rb") as file:
            os.fsync(file.fileno())

    def _note(self) -> _PartNote | None:
        """That of the part; None where there is none, or none that can be read."""
        if not is_file(self.note_path):
            return None
        try:
            return _PartNote(**files.read_json(self.note_path))
        except (UserError, TypeError):
            return None

    def _begin(self, note: _PartNote) -> None:
        """Start over with a new file, and note what is known of it before the first of its
        bytes."""
        self._drop()
        self.bar.set_size(self.file.name, note.total or self.file.expected)
        files.write_json(self.note_path, asdict(note))

    def _bytes_here(self) -> int:
        return self.part.stat().st_size if is_file(self.part) else 0

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


async def _chunks(response: "ClientResponse", window: float) -> AsyncIterator[bytes]:
    """The body as it comes. Raises _TransientError where `window` seconds bring too little of it:
    a byte now and then, or half of a chunk's head, would do for ever."""
    now = asyncio.get_running_loop().time
    deadline, count = now() + window, 0
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await response.content.readany()
        except TimeoutError:
            raise _TransientError("slower than a kilobyte per second") from None
        if not chunk:
            return
        yield chunk
        count += len(chunk)
        if count >= _SLOWEST * window:
            deadline, count = now() + window, 0


def _reason(error: Exception) -> str:
    """Why a try failed. Raises _PermanentError where no other will help."""
    from pipeline.data.web import failures

    if failures.is_permanent(error):
        raise _PermanentError(failures.reason(error)) from None
    return failures.reason(error)


def _hashed(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()


def _validator(response: "ClientResponse") -> str | None:
    """What changes with the file: its strong ETag, or else its date."""
    tag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified") if tag.startswith("W/") else tag
