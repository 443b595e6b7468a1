"""How fast the images of URL lists are fetched, and in how much memory: `python -m
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
from pipeline.data.url_fetch.fetcher import fetch
from pipeline.data.url_fetch.params import ClientParams, FetchParams

HOSTS = 500
PARAMS = FetchParams(
    rows_per_file=2000,
    min_side=8,
    max_side=0,
    quality=95,
    placeholder=1_000_000,
    client=ClientParams(
        concurrency=64,
        per_host=16,
        timeout=20.0,
        retries=2,
        contact="a benchmark",
        allow_private=False,
    ),
)
REDUCED = replace(PARAMS, max_side=256)


@dataclass(frozen=True)
class Load:
    """What is measured: a list of `urls` with images of this kind, fetched `runs` times."""

    name: str
    image: Case
    urls: int
    params: FetchParams
    runs: int


SMALL = Case("small", 256, 192, 75, 0)
LARGE = Case("COCO's", 640, 480, 95, 0)
LOADS = (
    Load("small images", SMALL, 10_000, PARAMS, 3),
    Load("small images, ten times as many", SMALL, 100_000, PARAMS, 1),
    Load("small images, all of one host", SMALL, 10_000, PARAMS, 1),
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
            f"image {number}",
        )


def served(image: bytes) -> Callable[[str], bytes | None]:
    """Every URL's image; no two are equal. One in ten is gone."""
    return lambda url: None if url.endswith("7.jpg") else image + url.encode()


def measured(load: Load, image: bytes) -> tuple[float, float]:
    """Seconds, and MiB of memory at the highest, less what an idle process has."""
    idle = peak()
    with url_server.serve(served(image)) as proxy, tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        counts = fetch(load.name, partial(listed, load), Path(out), load.params, proxy)
        seconds = time.perf_counter() - start
    if counts != {"http 404": load.urls // 10, "ok": load.urls - load.urls // 10}:
        raise RuntimeError(f"{load.name}: unexpected statuses {counts}")
    return seconds, peak() - idle


def line(load: Load) -> str:
    """One case, with its rates."""
    case = load.image
    image = photograph(1, case.width, case.height, case.quality)
    seconds, peaks = [], []
    for _ in range(load.runs):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            duration, memory = pool.submit(measured, load, image).result()
        seconds.append(duration)
        peaks.append(memory)
    rate = load.urls / statistics.median(seconds)
    return (
        f"{load.name:36} {load.urls:7,} URLs of {len(image) / 1e3:5.1f} kB {rate:7.0f} URLs/s "
        f"{rate * 0.9 * len(image) / 1e6:6.1f} MB/s {max(peaks):6.0f} MiB, {load.runs} run(s)"
    )


def main(words: list[str]) -> None:
    for load in [LOADS[int(word)] for word in words] or LOADS:
        print(line(load), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
