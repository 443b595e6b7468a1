"""Fetching the pictures of a list of URLs into Parquet files of fixed names and rows, with a status for every URL."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import files
from pipeline.origins import FetchParams
from pipeline.sources.records import UrlRow

if TYPE_CHECKING:  # a third of a second that only fetching pays
    from aiohttp import ClientSession

FETCHED = pa.schema([
    pa.field("key", pa.string(), nullable=False),
    pa.field("url", pa.string(), nullable=False),
    pa.field("status", pa.string(), nullable=False),  # "ok", or why there is no picture
    pa.field("image", pa.binary()),  # the body as it came; null where the status is not "ok"
    pa.field("caption", pa.string(), nullable=False),  # as in the list
])
_COMPRESSION = {"key": "zstd", "url": "zstd", "status": "zstd", "image": "none", "caption": "zstd"}
_GROUP = 256  # rows of a row group
_LARGEST = 32 << 20  # bytes of a body
_AGENT = "vl-beit (research data set fetcher)"
_PICTURE = re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|BM|II\*\0|MM\0\*|....ftyp", re.DOTALL)
_PASSING = re.compile(r"timeout|connection error|http (429|5\d\d)")  # worth another try


def fetch(rows: Iterable[UrlRow], folder: Path, params: FetchParams, proxy: str | None = None) -> dict[str, int]:
    """Write `<split>-<number>.parquet` (schema FETCHED, rows in list order) and return how often each status occurs.

    A file that is there already is kept, so an interrupted run goes on where it stopped. Without an explicit `proxy`
    the usual environment variables name one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    statuses = asyncio.run(_fetch_files(_files(rows, folder, params.rows_per_file), params, proxy))
    return dict(sorted(statuses.items()))


async def _fetch_files(chunks: Iterable[tuple[Path, list[UrlRow]]], params: FetchParams,
                       proxy: str | None) -> Counter[str]:
    import aiohttp

    statuses: Counter[str] = Counter()
    async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=params.concurrency), proxy=proxy, trust_env=proxy is None,
            timeout=aiohttp.ClientTimeout(total=params.timeout), headers={"User-Agent": _AGENT}) as session:
        for path, chunk in chunks:
            if not path.exists():
                _write(path, chunk, await _fetch_chunk(session, chunk, params))
            statuses.update(pq.read_table(path, columns=["status"])["status"].to_pylist())
    return statuses


async def _fetch_chunk(session: "ClientSession", rows: list[UrlRow],
                       params: FetchParams) -> list[tuple[str, bytes | None]]:
    """Status and picture of every row. The semaphore keeps the time spent waiting for a turn out of the timeout."""
    turns = asyncio.Semaphore(params.concurrency)

    async def one(row: UrlRow) -> tuple[str, bytes | None]:
        async with turns:
            return await _persist(session, row.url, params.retries)

    return await asyncio.gather(*map(one, rows))


async def _persist(session: "ClientSession", url: str, retries: int) -> tuple[str, bytes | None]:
    for attempt in range(retries + 1):
        status, body = await _get(session, url)
        if attempt == retries or not _PASSING.fullmatch(status):
            break
        await asyncio.sleep(0.5 * 2 ** attempt)
    return status, body


async def _get(session: "ClientSession", url: str) -> tuple[str, bytes | None]:
    """One try."""
    import aiohttp

    if not url:
        return "no url", None
    try:
        async with session.get(url) as response:
            if response.status != 200:
                return f"http {response.status}", None
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _LARGEST:
                    return "too large", None
    except TimeoutError:
        return "timeout", None
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, ValueError):
        return "bad url", None
    except (aiohttp.ClientError, OSError):
        return "connection error", None
    if not body:
        return "empty", None
    return ("ok", bytes(body)) if _PICTURE.match(body) else ("not an image", None)


def _files(rows: Iterable[UrlRow], folder: Path, size: int) -> Iterator[tuple[Path, list[UrlRow]]]:
    """The output files and the rows of each; rows of one split stand together in a list."""
    for split, group in groupby(rows, key=lambda row: row.split):
        for number in count():
            if not (chunk := list(islice(group, size))):
                break
            yield folder / f"{split}-{number:05d}.parquet", chunk


def _write(path: Path, rows: list[UrlRow], results: list[tuple[str, bytes | None]]) -> None:
    columns = zip(*((row.key, row.url, status, image, row.caption)
                    for row, (status, image) in zip(rows, results, strict=True)), strict=True)
    table = pa.Table.from_arrays([pa.array(column, field.type) for column, field in zip(columns, FETCHED, strict=True)],
                                 schema=FETCHED)
    with files.replacing(path) as temporary:
        pq.write_table(table, temporary, row_group_size=_GROUP, compression=_COMPRESSION)
