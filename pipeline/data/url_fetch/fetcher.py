"""Fetching the images behind a list of URLs into Parquet files of fixed names and rows, with a
status for every URL.

The order in which answers come does not show in the files, and a killed run goes on URL by URL. The
list is read as turns become free, so that few URLs are in memory; those of slow hosts wait at
these, up to `_MAX_OPEN` of them, while others pass. Every answer goes to the disk at once
(`journal`), and a file is written when all its URLs have an answer.

Importing this module takes a third of a second (aiohttp).
"""

import asyncio
import hashlib
import os
import re
import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from yarl import URL

from pipeline.data.records import UrlRow
from pipeline.data.url_fetch import filters, journal, placeholders, request
from pipeline.data.url_fetch.host_queue import Hosts
from pipeline.data.url_fetch.journal import Journal, UrlResult
from pipeline.data.url_fetch.params import FetchParams
from pipeline.data.url_fetch.progress import UrlProgress
from pipeline.data.url_fetch.request import Answer
from pipeline.data.web.client import Client
from pipeline.data.web.urls import exact
from pipeline.errors import UserError

_MAX_OPEN = 50_000  # URLs without an answer that are in memory, a kilobyte each
_BURST = 1000  # lines of the list that are read in one go
_MAX_REDIRECTS = 5
_BACKOFF = 1.0  # seconds before the second try; twice as long before each further one
_MAX_SILENCE = 500  # new URLs in a row without an answer from any host: the fault is on our side
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")  # JSON can spell them, Parquet cannot


def fetch(
    name: str,
    urls: Callable[[], Iterable[UrlRow]],
    folder: Path,
    params: FetchParams,
    proxy: str | None = None,
) -> dict[str, int]:
    """Write `<split>-<number>.parquet` (schema `journal.FETCHED`, rows in list order) and
    `placeholders.json`; print and return how often each status occurs.

    What is in `folder` already must come from an interrupted call with the same list and parameters
    (but for `client`); it is continued: URLs that have an answer are not requested again, unless
    with a transient failure in a file that is not finished. `name` is for messages; `urls` gives
    the list, rows of one split together.

    Raises:
        UserError: for a long time no host at all answers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with UrlProgress(name, sum(1 for _ in urls())) as progress:
        statuses = asyncio.run(_fetch_all(name, urls(), folder, params, proxy, progress))
    shared = placeholders.mark(folder, params.placeholder)
    statuses.update({"ok": -shared, placeholders.STATUS: shared})
    counts = {status: times for status, times in sorted(statuses.items()) if times}
    words = [f"{times:,} {status}" for status, times in Counter(counts).most_common()]
    print(f"{name}: {', '.join(words)}")
    return counts


async def _fetch_all(
    name: str,
    rows: Iterable[UrlRow],
    folder: Path,
    params: FetchParams,
    proxy: str | None,
    progress: UrlProgress,
) -> Counter[str]:
    """Write the files of a list and return how often each status occurs."""
    _raise_file_limit()
    loop = asyncio.get_running_loop()
    # aiohttp resolves host names in these threads
    loop.set_default_executor(ThreadPoolExecutor(params.client.concurrency))
    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(os.cpu_count()) as decoders:
        async with request.client(params.client, proxy) as client:
            fetcher = _Fetcher(name, folder, params, client, progress, writer, decoders)
            await fetcher.run(rows)
    return fetcher.statuses


@dataclass(eq=False)
class _OutputFile:
    """A file whose URLs are being fetched."""

    journal: Journal
    rows: int | None = None  # known when the list has been read so far
    answered: int = 0


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the list."""

    file: _OutputFile
    number: int  # of its row in the file
    row: UrlRow


@dataclass(frozen=True, slots=True)
class _UrlTask:
    """A line, and the address to which redirects have led so far."""

    line: _Line
    url: URL
    tries: int = 0  # that have failed
    redirects: int = 0

    @property
    def host(self) -> str:
        host = self.url.host
        assert host is not None  # see `exact`
        return host


class _Fetcher:
    """One pass through a list: which URL is requested when, and what becomes of its answer."""

    def __init__(
        self,
        name: str,
        folder: Path,
        params: FetchParams,
        client: Client,
        progress: UrlProgress,
        writer: ThreadPoolExecutor,
        decoders: ThreadPoolExecutor,
    ) -> None:
        self.statuses: Counter[str] = Counter()
        self._name, self._folder, self._params, self._client = name, folder, params, client
        self._progress, self._writer, self._decoders = progress, writer, decoders
        self._changed = asyncio.Event()
        self._hosts: Hosts[_UrlTask] = Hosts(params.client.per_host, self._changed.set)
        self._requests: set[asyncio.Future] = set()
        self._others: set[asyncio.Future] = set()  # pauses before another try, the writing of files
        self._errors: list[BaseException] = []
        self._open = 0  # URLs that were read and have no answer
        self._silent = 0  # new URLs in a row without an answer
        self._lines: Iterator[_Line] | None = None  # the rest of the list

    async def run(self, rows: Iterable[UrlRow]) -> None:
        """Fetch until every URL has a status and every file is written."""
        self._lines = self._unanswered(rows)
        try:
            while self._lines or self._open or self._others:
                self._dispatch()
                if self._lines or self._open or self._others:
                    await self._changed.wait()
                    self._changed.clear()
                if self._errors:
                    raise self._errors[0]
        finally:
            for future in self._requests | self._others:
                future.cancel()

    def _dispatch(self) -> None:
        """Start requests that have a turn; read on in the list where none has."""
        for _ in range(_BURST):
            if len(self._requests) >= self._params.client.concurrency:
                return
            if (task := self._hosts.take()) is not None:
                self._follow(asyncio.ensure_future(self._try(task)), self._requests)
            elif self._lines and self._open < _MAX_OPEN:
                self._read(self._lines)
            else:
                return
        self._changed.set()

    def _follow(self, future: asyncio.Future, group: set[asyncio.Future]) -> None:
        """Keep a future in its group until it ends; keep its error, if it has one, for `run`."""

        def ended(done: asyncio.Future) -> None:
            group.discard(done)
            if not done.cancelled() and (error := done.exception()):
                self._errors.append(error)
            self._changed.set()

        group.add(future)
        future.add_done_callback(ended)

    def _read(self, lines: Iterator[_Line]) -> None:
        """Queue the next line of the list."""
        if (line := next(lines, None)) is None:
            self._lines = None
            return
        self._open += 1
        if (url := exact(line.row.url)) is not None:
            self._queue(_UrlTask(line, url))
        else:
            self._answer(line, "bad url" if line.row.url else "no url")

    def _unanswered(self, rows: Iterable[UrlRow]) -> Iterator[_Line]:
        """The lines that have no answer yet; rows of one split stand together in a list."""
        for split, group in groupby(rows, key=lambda row: row.split):
            for number, chunk in enumerate(_chunks(group, self._params.rows_per_file)):
                path = self._folder / f"{split}-{number:05d}.parquet"
                if (statuses := _finished(path)) is not None:
                    self._skip(path, statuses, chunk)
                else:
                    yield from self._unanswered_of(_OutputFile(Journal(path)), chunk)

    def _skip(self, path: Path, statuses: list[str], chunk: Iterator[UrlRow]) -> None:
        """Count the statuses of a finished file."""
        journal.remove_notes(path)
        for status in statuses:
            self._count(status, earlier=True)
        for _ in chunk:
            pass

    def _unanswered_of(self, file: _OutputFile, chunk: Iterator[UrlRow]) -> Iterator[_Line]:
        """The lines of an unfinished file that an earlier run left without a final answer."""
        number = -1
        for number, row in enumerate(chunk):
            status = file.journal.statuses.get(number)
            if status is None or request.is_transient(status):
                yield _Line(file, number, row)
            else:
                self._count(status, earlier=True)
                file.answered += 1
        file.journal.statuses.clear()
        file.rows = number + 1
        self._finish_if_whole(file)

    def _queue(self, task: _UrlTask) -> None:
        """Have a task wait for a turn at its host."""
        if (status := self._hosts.dead.get(task.host)) is None:
            self._hosts.put(task.host, task)
        else:
            self._answer(task.line, status)

    async def _try(self, task: _UrlTask) -> None:
        """One request, and what follows from its answer."""
        answer = await request.ask(self._client, task.url)
        self._check_network(task, answer)
        transient = request.is_transient(answer.status)
        abandoned = self._hosts.leave(
            task.host,
            answer.status,
            silent=answer.silent,
            rest=answer.rest if transient else 0.0,
        )
        for other in abandoned:
            self._answer(other.line, answer.status)
        if answer.moved is not None and task.redirects < _MAX_REDIRECTS:
            self._queue(replace(task, url=answer.moved, redirects=task.redirects + 1))
        elif transient and task.tries < self._params.client.retries:
            retry = self._retry(replace(task, tries=task.tries + 1))
            self._follow(asyncio.ensure_future(retry), self._others)
        else:
            self._answer(task.line, *await self._filtered(answer))

    async def _retry(self, task: _UrlTask) -> None:
        """Queue a task again after a pause, in which it takes no turn."""
        await asyncio.sleep(_BACKOFF * 2 ** (task.tries - 1))
        self._queue(task)

    def _check_network(self, task: _UrlTask, answer: Answer) -> None:
        """Raises UserError where no host answers any more: then the network is down, and no URL
        must get a status for it."""
        if not task.tries and not task.redirects:
            self._silent = self._silent + 1 if answer.silent else 0
        if self._silent >= _MAX_SILENCE:
            raise UserError(
                f"{self._name}: no answer from any of the last {_MAX_SILENCE} URLs "
                f"({answer.status}); see to the network and run the stage again, it goes on where "
                "it stopped"
            )

    async def _filtered(self, answer: Answer) -> tuple[str, bytes | None]:
        """Status and image. Images that are to be reduced go to other threads: Pillow releases the
        interpreter's lock meanwhile."""
        if answer.status != "ok":
            return ("too many redirects" if answer.moved else answer.status), None
        if not self._params.max_side:
            return filters.apply(answer.body, self._params)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoders, filters.apply, answer.body, self._params)

    def _answer(self, line: _Line, status: str, image: bytes | None = None) -> None:
        """Note the final status of a URL, and its image."""
        digest = None if image is None else int.from_bytes(hashlib.sha256(image).digest()[:8])
        url = _LONE_SURROGATES.sub("\ufffd", line.row.url)
        caption = _LONE_SURROGATES.sub("\ufffd", line.row.caption)
        result = UrlResult(line.number, line.row.key, url, status, digest, caption)
        line.file.journal.add(result, image)
        line.file.answered += 1
        self._open -= 1
        self._count(status)
        self._finish_if_whole(line.file)

    def _count(self, status: str, *, earlier: bool = False) -> None:
        self.statuses[status] += 1
        self._progress.add(status == "ok", earlier=earlier)

    def _finish_if_whole(self, file: _OutputFile) -> None:
        if file.answered == file.rows:
            loop = asyncio.get_running_loop()
            finish = loop.run_in_executor(self._writer, file.journal.finish, file.rows)
            self._follow(finish, self._others)


def _finished(path: Path) -> list[str] | None:
    """The statuses of a finished file. None where it is not finished, or is deleted because it
    cannot be read any more."""
    if not path.exists():
        return None
    try:
        return pq.read_table(path, columns=["status"])["status"].to_pylist()
    except (pa.ArrowException, OSError):
        path.unlink()
        print(f"{path}: damaged, its URLs are requested again", file=sys.stderr)
        return None


def _chunks(rows: Iterator[UrlRow], size: int) -> Iterator[Iterator[UrlRow]]:
    """`size` rows at a time; each chunk has to be read to its end before the next is taken."""
    for first in rows:
        yield chain([first], islice(rows, size - 1))


def _raise_file_limit() -> None:
    """Allow as many open connections and journals as the system grants."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
