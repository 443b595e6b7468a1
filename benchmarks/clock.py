"""Rates of several ways to do the same work, measured in turn, so that other load on the machine
affects all alike."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median


def rates(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median items per second of each way, over `rounds` rounds after one that is not counted. A
    way returns how many items it processed."""
    measured: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            items = way()
            measured[name].append(items / (time.perf_counter() - start))
    return {name: median(each[1:]) for name, each in measured.items()}


def report(lines: Callable[[Path], Iterator[str]]) -> None:
    """Print the lines of a benchmark as they come; it has a folder to work in."""
    with tempfile.TemporaryDirectory() as folder:
        for line in lines(Path(folder)):
            print(line, flush=True)
