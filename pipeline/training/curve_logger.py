"""The curve of a run, written as the run goes on: file, tracked run and terminal."""

import sys
import time
from pathlib import Path

from pipeline.errors import UserError
from pipeline.tracking.client import Run
from pipeline.training import collectives, curves
from pipeline.training.curves import CurveKind, CurveRow
from pipeline.utils.progress import clock

# Endings of the names of what predictions are compared with: the same at every step.
COMPARISONS = ("_chance", "_count", "_frequent")
# … and of what gains are made of, which is too much for a line on the terminal.
DETAILS = ("_right", "_other", "_none", "_error")


class CurveLogger:
    """Metrics by step, into a JSONL file, the tracked run and the terminal. Worker 0 alone writes.

    Args:
        path: the file; it is written anew from `rows`.
        rows: of the curve up to `step`, from which the run resumes; new ones are added.
        steps: of the whole run.
    """

    def __init__(self, path: Path, rows: list[CurveRow], step: int, steps: int, run: Run):
        self.path, self.rows, self.steps, self.run = path, rows, steps, run
        self._last_step, self._last_time = step, time.monotonic()
        if collectives.rank() == 0:
            _report_damage(path)
            curves.write_jsonl(path, rows)

    def train(self, step: int, values: dict[str, float]) -> None:
        """Log values of training, and how fast it is since the last call."""
        self._add(step, "train", values, self._rate(step))

    def validation(self, step: int, metrics: dict[str, float]) -> None:
        """Log the metrics of an evaluation."""
        self._add(step, "validation", metrics, {})

    def _add(
        self, step: int, kind: CurveKind, values: dict[str, float], rates: dict[str, float]
    ) -> None:
        """`rates` are not reproducible, so the file goes without them."""
        if collectives.rank() != 0:
            return
        row = CurveRow(step, kind, values)
        self.rows.append(row)
        curves.append_jsonl(self.path, row)
        track(self.run, CurveRow(step, kind, {**values, **rates}))
        line = " ".join(f"{name} {value:.4g}" for name, value in values.items() if _fits(name))
        if rates:
            line += f", {rates['steps_per_s']:.4g} steps/s"
            line += f", {clock(60 * rates['minutes_left'])} left"
        log(f"{kind} step {step} of {self.steps}: {line}")

    def _rate(self, step: int) -> dict[str, float]:
        """`steps_per_s` since the last call, and `minutes_left`."""
        now = time.monotonic()
        rate = (step - self._last_step) / max(now - self._last_time, 1e-9)
        self._last_step, self._last_time = step, now
        return {
            "steps_per_s": rate,
            "minutes_left": (self.steps - step) / max(rate, 1e-9) / 60,
        }


def track(run: Run, row: CurveRow) -> None:
    """Log the values of a row that make a chart."""
    charted = {}
    for name, value in row.values.items():
        if _changes(name, value):
            charted[f"{row.kind}/{name}"] = value
    run.metrics(charted, row.step)


def _changes(name: str, value: float) -> bool:
    """Whether a chart of these values would show more than a level line. `finite` is 1 unless
    something is wrong."""
    return not name.endswith(COMPARISONS) and (name, value) != ("finite", 1.0)


def _fits(name: str) -> bool:
    """Whether a value belongs on the terminal's line."""
    base = name.removesuffix("_loss").removesuffix("_accuracy")
    return name != "finite" and not base.endswith(COMPARISONS + DETAILS)


def _report_damage(path: Path) -> None:
    try:
        curves.read_jsonl(path)
    except UserError as error:
        log(f"{error}; written anew from the checkpoint")


def log(line: str) -> None:
    """Show a line on the terminal, from worker 0."""
    if collectives.rank() == 0:
        sys.stderr.write(line + "\n")  # not `print`, which Ray Train doubles
