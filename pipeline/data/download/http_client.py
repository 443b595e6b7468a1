"""Official files over HTTP: whole and checked, or absent.

aiohttp gives proxies, timeouts and truncated bodies; what a data set of a terabyte needs besides,
no library at hand has together: pooch does not resume, fsspec's HTTP checks nothing, aiohttp-retry
repeats requests but not bodies, and none tells a file that changed on the server from one that did
not.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING

from pipeline.data.download import checksums
from pipeline.data.download.manifest import OfficialFile
from pipeline.data.download.params import HttpParams
from pipeline.data.download.transfer import Transfer, is_file
from pipeline.errors import UserError
from pipeline.utils.progress import ByteProgress, size

if TYPE_CHECKING:  # importing it takes a third of a second, which only downloads pay
    from pipeline.data.web.client import Client

_AGENT = "vl-beit (research data set downloader)"
_BUFFER = 1 << 16  # bytes; what waits in it when a connection breaks is lost


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
    if not is_file(path):
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
    bar = ByteProgress(label, sizes, sum(bytes_here(folder, file) for file in wanted))
    turns = asyncio.Semaphore(params.files)
    async with _client(params) as client:

        async def transfer(file: OfficialFile) -> str | None:
            async with turns:
                return await Transfer(client, file, finished_path(folder, file), params, bar).run()

        ticker = asyncio.create_task(_tick(bar))
        try:
            failures = await asyncio.gather(*map(transfer, wanted))
        finally:
            ticker.cancel()
            bar.end()
    return [failure for failure in failures if failure]


def _client(params: HttpParams) -> "AbstractAsyncContextManager[Client]":
    """Bodies come as they are stored; the usual environment variables name a proxy, a `.netrc`
    passwords."""
    import aiohttp

    from pipeline.data.web.client import client

    return client(
        allow_private=params.allow_private,
        trust_env=True,
        auto_decompress=False,
        read_bufsize=_BUFFER,
        headers={"User-Agent": _AGENT, "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=params.timeout, sock_read=params.timeout
        ),
    )


async def _tick(bar: ByteProgress) -> None:
    """Lines go on while nothing arrives."""
    while True:
        await asyncio.sleep(bar.every)
        bar.advance(0)
