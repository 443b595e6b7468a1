"""How fast the pictures of URL lists are fetched, and in how much memory: `python -m
benchmarks.fetching`.

A server on this machine, behind a proxy's address, stands for many hosts; its work is part of what
is measured. Every run is a process of its own. Prints a line per case: the median rate of all runs,
and the most memory of any.
"""

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.photos import photograph
from benchmarks.sharding import Case, peak
from pipeline.data.records import UrlRow
from pipeline.data.synthetic import url_server
from pipeline.data.url_fetch.fetch import fetch
from pipeline.data.url_fetch.params import ClientParams, FetchParams

HOSTS = 500
PARAMS = FetchParams(
    rows_per_file=2000,
    min_side=8,
    max_side=0,
    quality=95,
    placeholder=1_000_000,
    client=ClientParams(
        concurrency=64, per_host=16, timeout=20.0, retries=2, contact="a benchmark"
    ),
)
REDUCED = replace(PARAMS, max_side=256)


@dataclass(frozen=True)
class Load:
    """What is measured: a list of `urls` with these pictures, fetched `runs` times."""

    name: str
    picture: Case
    urls: int
    params: FetchParams
    runs: int


SMALL = Case("small", 256, 192, 75, 0)
LARGE = Case("COCO's", 640, 480, 95, 0)
LOADS = (
    Load("small pictures", SMALL, 10_000, PARAMS, 3),
    Load("small pictures, ten times as many", SMALL, 100_000, PARAMS, 1),
    Load("small pictures, all of one host", SMALL, 10_000, PARAMS, 1),
    Load("COCO's size", LARGE, 3_000, PARAMS, 1),
    Load("COCO's size, reduced to 256 pixels", LARGE, 1_000, REDUCED, 1),
)


def listed(load: Load) -> Iterator[UrlRow]:
    """The list."""
    hosts = 1 if "one host" in load.name else HOSTS
    for number in range(load.urls):
        yield UrlRow(
            f"{number:07d}",
            "train",
            f"http://{number % hosts}.example/{number}.jpg",
            f"picture {number}",
        )


def served(picture: bytes) -> Callable[[str], bytes | None]:
    """Every URL's picture; no two are equal. One in ten is gone."""
    return lambda url: None if url.endswith("7.jpg") else picture + url.encode()


def measured(load: Load, picture: bytes) -> tuple[float, float]:
    """Seconds, and MiB of memory at the highest, less what an idle process has."""
    idle = peak()
    with url_server.serve(served(picture)) as proxy, tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        counts = fetch(load.name, partial(listed, load), Path(out), load.params, proxy)
        seconds = time.perf_counter() - start
    if counts != {"http 404": load.urls // 10, "ok": load.urls - load.urls // 10}:
        raise RuntimeError(f"{load.name}: unexpected statuses {counts}")
    return seconds, peak() - idle


def line(load: Load) -> str:
    """One case, with its rates."""
    shown = load.picture
    picture = photograph(1, shown.width, shown.height, shown.quality)
    seconds, peaks = [], []
    for _ in range(load.runs):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            one, memory = pool.submit(measured, load, picture).result()
        seconds.append(one)
        peaks.append(memory)
    rate = load.urls / statistics.median(seconds)
    return (
        f"{load.name:36} {load.urls:7,} URLs of {len(picture) / 1e3:5.1f} kB {rate:7.0f} URLs/s "
        f"{rate * 0.9 * len(picture) / 1e6:6.1f} MB/s {max(peaks):6.0f} MiB, {load.runs} run(s)"
    )


def main(words: list[str]) -> None:
    chosen = [LOADS[int(word)] for word in words] or LOADS
    for load in chosen:
        print(line(load), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
