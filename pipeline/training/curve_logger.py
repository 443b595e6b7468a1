"""The curve of a run, written as the run goes on: file, tracked run and terminal."""

import sys
import time
from pathlib import Path

from pipeline.tracking.client import Run
from pipeline.training import collectives, curves
from pipeline.training.curves import CurveKind, CurveRow


class CurveLogger:
    """Metrics by step, into a JSONL file, the tracked run and the terminal. Worker 0 alone writes.

    Args:
        path: the file; rows after `step`, from which the run resumes, are dropped.
        steps: of the whole run.
    """

    def __init__(self, path: Path, step: int, steps: int, run: Run):
        self.path, self.steps, self.run = path, steps, run
        self._last_step, self._last_time = step, time.monotonic()
        if collectives.rank() == 0:
            done = [row for row in curves.read_jsonl(path) if row.step <= step]
            curves.write_jsonl(path, done)

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
        curves.append_jsonl(self.path, CurveRow(step, kind, values))
        shown = {**values, **rates}
        self.run.metrics({f"{kind}/{name}": value for name, value in shown.items()}, step)
        shown.pop("finite", None)
        line = " ".join(f"{name} {value:.4g}" for name, value in shown.items())
        log(f"{kind} step {step}: {line}")

    def _rate(self, step: int) -> dict[str, float]:
        """`steps_per_s` since the last call, and `minutes_left`."""
        now = time.monotonic()
        rate = (step - self._last_step) / max(now - self._last_time, 1e-9)
        self._last_step, self._last_time = step, now
        return {
            "steps_per_s": rate,
            "minutes_left": (self.steps - step) / max(rate, 1e-9) / 60,
        }


def log(line: str) -> None:
    """Show a line on the terminal, from worker 0."""
    if collectives.rank() == 0:
        sys.stderr.write(line + "\n")  # not `print`, which Ray Train doubles
