"""How far our rows of Tables 4 and 5 lie above no pretraining and above chance, in standard errors."""

import math
from collections.abc import Sequence
from typing import Any

from pipeline.reporting import tables
from pipeline.reporting.render import number
from pipeline.reporting.tables import RowLayout

ABLATIONS = ("table4", "table5")
BASELINES = ("no pretraining", "chance")  # labels of rows


def lines(results: Sequence[dict[str, Any]]) -> list[str]:
    """A table in Markdown; a cell has a number for each run, such as those of several seeds."""
    columns = tables.printed_columns(ABLATIONS[0])
    heads = [column.heading for column in columns]
    made = [f"| | above | {' | '.join(heads)} |", f"|---|---|{'---:|' * len(heads)}"]
    layout = tables.read_layout()
    rows = [row for table in ABLATIONS for row in layout[table]]
    baselines = [next(row for row in rows if row.label == label) for label in BASELINES]
    unique = {tuple(row.cells.values()): row for row in reversed(rows) if row not in baselines}
    for baseline in baselines:
        for row in reversed(unique.values()):
            runs = [above(row, baseline, result) for result in results]
            cells = [", ".join(number(run.get(column.key)) for run in runs) for column in columns]
            made.append(f"| {' | '.join([row.label, baseline.label, *cells])} |")
    return made


def above(row: RowLayout, baseline: RowLayout, results: dict[str, Any]) -> dict[str, float]:
    """For each column, how many standard errors of the difference a row of a table lies above
    another one, in one run's results; without the columns whose numbers have no standard error."""
    distances = {}
    for column, source in row.cells.items():
        other = baseline.cells[column]
        value, least = tables.percentage(source, results), tables.percentage(other, results)
        error = _error(source, results)
        if value is not None and least is not None and error is not None:
            of_both = math.hypot(error, _error(other, results) or 0.0)  # chance is known exactly
            distances[column] = _quotient(value - least, of_both)
    return distances


def _quotient(difference: float, error: float) -> float:
    """Infinite where there is no error, unless there is no difference either."""
    if error:
        return difference / error
    return math.copysign(math.inf, difference) if difference else 0.0


def _error(source: str, results: dict[str, Any]) -> float | None:
    """The standard error in percent of the number at `fine-tune/key.in.its.result`; None where it
    has none."""
    name, _, path = source.partition("/")
    try:
        error = tables.value_at(f"standard_errors.{path}", results.get(name, {}))
    except KeyError:
        return None
    return None if error is None else 100 * error
