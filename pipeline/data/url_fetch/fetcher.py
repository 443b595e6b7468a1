"""One pass through a list of URLs: which is asked when, and what becomes of its answer.

The list is read as turns come free, so that few URLs are in memory. Those of slow hosts wait at
these, up to `_WINDOW` of them, while others pass. What has come goes to the disk at once
(`fetch_log`), and a file is written when all its URLs have answered.
"""

import asyncio
import hashlib
import os
import re
import resource
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, count, groupby, islice
from pathlib import Path

import pyarrow.parquet as pq
from aiohttp import ClientSession
from yarl import URL

from pipeline.data.records import UrlRow
from pipeline.data.url_fetch import filters, journal, request
from pipeline.data.url_fetch.host_queue import Hosts
from pipeline.data.url_fetch.journal import Fact, FetchLog
from pipeline.data.url_fetch.params import FetchParams
from pipeline.data.url_fetch.progress import UrlProgress
from pipeline.data.url_fetch.request import Answer
from pipeline.errors import UserError

_WINDOW = 50_000  # URLs without an answer that are in memory, a kilobyte each
_BURST = 1000  # lines of the list that are read in one go
_HOPS = 5  # redirects
_BACKOFF = 1.0  # seconds before the second try; twice as long before each further one
_SILENCE = 500  # new URLs in a row without an answer from any host: the fault is on our side
_HALF_PAIRS = re.compile("[\ud800-\udfff]")  # JSON can spell them, Parquet cannot


@dataclass(eq=False)
class _Part:
    """A file at work."""

    log: FetchLog
    rows: int | None = None  # known when the list has been read so far
    answered: int = 0


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the list."""

    part: _Part
    number: int  # of its row in the file
    row: UrlRow


@dataclass(frozen=True, slots=True)
class _Job:
    """A line, and the address that it has come to."""

    line: _Line
    url: URL
    tries: int = 0  # that have failed
    hops: int = 0


async def run(
    name: str,
    rows: Iterable[UrlRow],
    folder: Path,
    params: FetchParams,
    proxy: str | None,
    progress: UrlProgress,
) -> Counter[str]:
    """Write the files of a list and return how often each status occurs. See `fetch.fetch`."""
    _allow_many_files()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(
        ThreadPoolExecutor(params.client.concurrency)
    )  # aiohttp asks for addresses in these
    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(os.cpu_count()) as judges:
        async with request.session(params.client, proxy) as session:
            fetcher = _Fetcher(name, folder, params, session, progress, writer, judges)
            await fetcher.run(rows)
    return fetcher.statuses


class _Fetcher:
    """One pass through a list."""

    def __init__(
        self,
        name: str,
        folder: Path,
        params: FetchParams,
        session: ClientSession,
        progress: UrlProgress,
        writer: ThreadPoolExecutor,
        judges: ThreadPoolExecutor,
    ) -> None:
        self.statuses: Counter[str] = Counter()
        self._name, self._folder, self._params, self._session = name, folder, params, session
        self._progress, self._writer, self._judges = progress, writer, judges
        self._changed = asyncio.Event()
        self._hosts: Hosts[_Job] = Hosts(params.client.per_host, self._changed.set)
        self._tasks: set[asyncio.Future] = set()  # requests
        self._others: set[asyncio.Future] = set()  # pauses before another try, the writing of files
        self._errors: list[BaseException] = []
        self._open = 0  # URLs that were read and have no answer
        self._silent = 0  # new URLs in a row without an answer

    async def run(self, rows: Iterable[UrlRow]) -> None:
        """Until every URL has a status and every file is written."""
        self._list: Iterator[_Line] | None = self._lines(rows)
        try:
            while self._list or self._open or self._others:
                self._dispatch()
                if self._list or self._open or self._others:
                    await self._changed.wait()
                    self._changed.clear()
                if self._errors:
                    raise self._errors[0]
        finally:
            for task in self._tasks | self._others:
                task.cancel()

    def _dispatch(self) -> None:
        """Start what has a turn; read on in the list where nothing has one."""
        for _ in range(_BURST):
            if len(self._tasks) >= self._params.client.concurrency:
                return
            if (job := self._hosts.take()) is not None:
                self._follow(asyncio.ensure_future(self._try(job)), self._tasks)
            elif self._list and self._open < _WINDOW:
                self._read()
            else:
                return
        self._changed.set()

    def _follow(self, future: asyncio.Future, group: set[asyncio.Future]) -> None:
        """Keep a future in its group until it ends, and the error that it may end with."""

        def ended(done: asyncio.Future) -> None:
            group.discard(done)
            if not done.cancelled() and (error := done.exception()):
                self._errors.append(error)
            self._changed.set()

        group.add(future)
        future.add_done_callback(ended)

    def _read(self) -> None:
        """The next line of the list."""
        if (line := next(self._list, None)) is None:
            self._list = None
            return
        self._open += 1
        if (url := request.address(line.row.url)) is not None:
            self._queue(_Job(line, url))
        else:
            self._answer(line, "bad url" if line.row.url else "no url")

    def _lines(self, rows: Iterable[UrlRow]) -> Iterator[_Line]:
        """All that is not done; rows of one split stand together in a list."""
        for split, group in groupby(rows, key=lambda row: row.split):
            for number in count():
                chunk = islice(group, self._params.rows_per_file)
                if (first := next(chunk, None)) is None:
                    break
                path = self._folder / f"{split}-{number:05d}.parquet"
                if path.exists():
                    self._skip(path, chain([first], chunk))
                else:
                    yield from self._unfinished(_Part(FetchLog(path)), chain([first], chunk))

    def _skip(self, path: Path, chunk: Iterator[UrlRow]) -> None:
        """A finished file."""
        journal.remove_notes(path)
        for status in pq.read_table(path, columns=["status"])["status"].to_pylist():
            self._count(status, earlier=True)
        for _ in chunk:
            pass

    def _unfinished(self, part: _Part, chunk: Iterator[UrlRow]) -> Iterator[_Line]:
        number = -1
        for number, row in enumerate(chunk):
            if (status := part.log.found.get(number)) is None or request.passing(status):
                yield _Line(part, number, row)
            else:
                self._count(status, earlier=True)
                part.answered += 1
        part.log.found.clear()
        part.rows = number + 1
        self._finish_if_whole(part)

    def _queue(self, job: _Job) -> None:
        if (status := self._hosts.dead.get(job.url.host)) is None:
            self._hosts.put(job.url.host, job)
        else:
            self._answer(job.line, status)

    async def _try(self, job: _Job) -> None:
        answer = await request.ask(self._session, job.url)
        self._listen(job, answer)
        again = request.passing(answer.status) and job.tries < self._params.client.retries
        for other in self._hosts.leave(
            job.url.host,
            answer.status,
            silent=answer.silent,
            rest=answer.rest if request.passing(answer.status) else 0.0,
        ):
            self._answer(other.line, answer.status)
        if answer.moved is not None and job.hops < _HOPS:
            self._queue(replace(job, url=answer.moved, hops=job.hops + 1))
        elif again:
            self._follow(
                asyncio.ensure_future(self._later(replace(job, tries=job.tries + 1))), self._others
            )
        else:
            self._answer(job.line, *await self._judged(answer))

    async def _later(self, job: _Job) -> None:
        """Another try after a while, without a turn until then."""
        await asyncio.sleep(_BACKOFF * 2 ** (job.tries - 1))
        self._queue(job)

    def _listen(self, job: _Job, answer: Answer) -> None:
        """A list holds many hosts: where none of them answers, there is no network, and no URL is
        to blame for it."""
        if not job.tries and not job.hops:
            self._silent = self._silent + 1 if answer.silent else 0
        if self._silent >= _SILENCE:
            raise UserError(
                f"{self._name}: no answer from any of the last {_SILENCE} URLs ({answer.status}); see to "
                "the network and run the stage again, it goes on where it stopped"
            )

    async def _judged(self, answer: Answer) -> tuple[str, bytes | None]:
        """Pictures that are to be reduced go to other threads: Pillow leaves the interpreter to
        others meanwhile."""
        if answer.status != "ok":
            return ("too many redirects" if answer.moved else answer.status), None
        if not self._params.max_side:
            return filters.judge(answer.body, self._params)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._judges, filters.judge, answer.body, self._params)

    def _answer(self, line: _Line, status: str, picture: bytes | None = None) -> None:
        """A URL is done."""
        digest = None if picture is None else int.from_bytes(hashlib.sha256(picture).digest()[:8])
        url, caption = (
            _HALF_PAIRS.sub("\ufffd", text) for text in (line.row.url, line.row.caption)
        )
        line.part.log.add(Fact(line.number, line.row.key, url, status, digest, caption), picture)
        line.part.answered += 1
        self._open -= 1
        self._count(status)
        self._finish_if_whole(line.part)

    def _count(self, status: str, *, earlier: bool = False) -> None:
        self.statuses[status] += 1
        self._progress.add(status == "ok", earlier=earlier)

    def _finish_if_whole(self, part: _Part) -> None:
        if part.answered == part.rows:
            self._follow(
                asyncio.get_running_loop().run_in_executor(self._writer, part.log.finish),
                self._others,
            )


def _allow_many_files() -> None:
    """Connections and logs: as many as the system grants without being asked for more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
