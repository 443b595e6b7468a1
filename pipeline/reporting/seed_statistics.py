"""Results of one pipeline run with several seeds: their mean and their spread."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pipeline.reporting import tables
from pipeline.reporting.tables import RowLayout, Table, TableParams, TableSection

Tree = dict[str, Any]


def mean(results: Sequence[Tree]) -> Tree:
    """The mean of every float; integers and texts as in the first result."""
    return _merge(results, statistics.fmean)


def deviation(results: Sequence[Tree]) -> Tree:
    """The sample standard deviation of every float; integers and texts as in the first result."""
    return _merge(results, statistics.stdev)


def lowest(results: Sequence[Tree]) -> Tree:
    """The least of every float; integers and texts as in the first result."""
    return _merge(results, min)


def highest(results: Sequence[Tree]) -> Tree:
    """The largest of every float; integers and texts as in the first result."""
    return _merge(results, max)


def _merge(trees: Sequence[Any], number: Callable[[Sequence[float]], float]) -> Any:
    if isinstance(trees[0], dict):
        return {key: _merge([tree[key] for tree in trees], number) for key in trees[0]}
    return number(trees) if isinstance(trees[0], float) else trees[0]


def against_paper(
    name: str, layout: list[RowLayout], results: Sequence[Tree], params: TableParams
) -> Table:
    """The paper's table `name`, below it our means over the seeds, and below them their standard
    deviations, all in percent."""
    of_means = replace(params, section=f"{params.section}, mean of {len(results)} seeds")
    table = tables.against_paper(name, layout, mean(results), of_means)
    spread = tables.against_paper(name, layout, deviation(results), params).sections[-1]
    return replace(
        table,
        sections=[*table.sections, TableSection("standard deviation over the seeds", spread.rows)],
    )
