"""Fetching the pictures of a list of URLs into Parquet files of fixed names and rows, with a status
for every URL.

No order of arrival shows in the files, and a killed run goes on URL by URL.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.data.records import UrlRow
from pipeline.data.url_fetch import placeholders
from pipeline.data.url_fetch.params import FetchParams
from pipeline.data.url_fetch.progress import UrlProgress


def fetch(
    name: str,
    urls: Callable[[], Iterable[UrlRow]],
    folder: Path,
    params: FetchParams,
    proxy: str | None = None,
) -> dict[str, int]:
    """Write `<split>-<number>.parquet` (schema `fetch_log.FETCHED`, rows in list order) and
    `placeholders.json`; print and return how often each status occurs.

    What is in `folder` already must come from an interrupted call with the same list and parameters
    (but for `client`); it is gone on with: URLs that have answered are not asked again, unless with
    a passing failure in a file that is not finished. `name` is for messages; `urls` gives the list,
    rows of one split together.

    Raises:
        UserError: for a long time no host at all answers.
    """
    from pipeline.data.url_fetch import (
        fetcher,  # aiohttp: a third of a second that only fetching pays
    )

    folder.mkdir(parents=True, exist_ok=True)
    progress = UrlProgress(name, sum(1 for _ in urls()))
    statuses = asyncio.run(fetcher.run(name, urls(), folder, params, proxy, progress))
    progress.show()
    progress.end()
    shared = placeholders.mark(folder, params.placeholder)
    statuses.update({"ok": -shared, placeholders.STATUS: shared})
    told = {status: times for status, times in sorted(statuses.items()) if times}
    print(
        f"{name}: "
        + ", ".join(f"{times:,} {status}" for status, times in Counter(told).most_common())
    )
    return told
