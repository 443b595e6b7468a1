"""What a run needs in order to go on, and its checkpoints."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from pipeline.errors import UserError
from pipeline.training import checked_files, collectives
from pipeline.training.curve_logger import log
from pipeline.training.curves import CurveRow
from pipeline.training.data_parallel import WrappedModel
from pipeline.training.optim import AdamW

KEPT_CHECKPOINTS = 2


class Best(NamedTuple):
    """The best evaluation so far, and the file in the work folder that holds its weights."""

    score: float
    file: str


@dataclass
class TrainState:
    """A run after `step` steps. What steps return stays on their device, so nothing waits for
    it."""

    parallel: WrappedModel
    optimizer: AdamW
    # parameters of validation that are none of the training
    validation: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    best: Best | None = None
    # all rows so far: a checkpoint is all that a resumed run needs
    curve: list[CurveRow] = field(default_factory=list)
    # of what the `steps` since the curve's last row have returned
    sums: dict[str, float | Tensor] = field(default_factory=dict)
    # consecutive steps without a finite gradient: up to this step, and the most so far
    nonfinite_steps: float | Tensor = 0.0
    most_nonfinite_steps: float | Tensor = 0.0

    def add(self, values: dict[str, Tensor]) -> None:
        """Count in a step and what it returned."""
        self.step += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.double()
        self.sums["steps"] = self.sums.get("steps", 0.0) + 1.0
        nonfinite_steps = (self.nonfinite_steps + 1) * (1 - values["finite"])
        self.most_nonfinite_steps = nonfinite_steps.clamp(min=self.most_nonfinite_steps)
        self.nonfinite_steps = nonfinite_steps

    def means(self) -> dict[str, float]:
        """The means of the values since the last call."""
        sums = self._fetch_sums()
        self.sums = {}
        return {name: total / sums["steps"] for name, total in sums.items() if name != "steps"}

    def keep_best(self, score: float, weights: dict[str, Tensor], folder: Path) -> None:
        """Write the weights of the best evaluation so far, that of this step."""
        file = checked_files.save(weights, folder, f"best-{self.step:08d}")
        self.best = Best(score, file.name)

    def save(self, folder: Path) -> None:
        """Write a checkpoint, and remove all but the last ones. All workers call this; worker 0
        writes."""
        state = {
            **self.parallel.state(self.optimizer),
            "step": self.step,
            "best": self.best and tuple(self.best),
            "curve": list(map(tuple, self.curve)),
            "sums": self._fetch_sums(),
            "validation": self.validation,
        }
        if collectives.rank() != 0:
            return
        checked_files.save(state, folder, f"checkpoint-{self.step:08d}")
        self._remove_others(folder)

    def resume(self, folder: Path) -> None:
        """Go on from the last checkpoint that is whole, if there is one.

        Raises:
            UserError: there are checkpoints, but none is whole; or it is that of another model.
        """
        saved = checkpoints(folder)
        for path in reversed(saved):
            try:
                state = _read(path)
            except UserError as error:
                log(f"{error}; looking for an older checkpoint")
                continue
            self._restore(state, path)
            return
        if saved:
            raise UserError(
                f"{folder}: no whole checkpoint is left; bring one back from a backup, or remove "
                "this folder to train from the start"
            )

    def _restore(self, state: dict[str, Any], path: Path) -> None:
        try:
            self.parallel.restore(self.optimizer, state)
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{path}: does not fit the model ({reason}); remove its folder to train from the start"
            ) from None
        self.step, self.best, self.sums = state["step"], state["best"], state["sums"]
        self.curve = state["curve"]
        if state.get("validation", {}) != self.validation:
            log("other parameters of validation: earlier validation is left out of the curve")
            self.curve = [row for row in self.curve if row.kind == "train"]

    def _remove_others(self, folder: Path) -> None:
        """Remove all checkpoints but the last ones and the files of weights that none of these
        refers to. Those of later steps are left by a run that went back behind them."""
        past = [path for path in checkpoints(folder) if _step(path) <= self.step]
        kept = set(past[-KEPT_CHECKPOINTS:])
        first = min(map(_step, kept))
        best = [path for path in _best_files(folder) if _step(path) <= self.step]
        # the last one that the oldest checkpoint can know of, and all after it
        known = [path for path in best if _step(path) <= first]
        kept.update(best[max(len(known) - 1, 0) :])
        for path in {*checkpoints(folder), *_best_files(folder)} - kept:
            path.unlink()

    def _fetch_sums(self) -> dict[str, float]:
        return {name: float(total) for name, total in self.sums.items()}


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints, the oldest first."""
    return sorted(folder.glob("checkpoint-*.pt"))


def _best_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("best-*.pt"))


def _step(path: Path) -> int:
    """The step in a file's name; 0 where it is no number."""
    step = path.name.split("-")[1]
    return int(step) if step.isdecimal() else 0


def _read(path: Path) -> dict[str, Any]:
    """A checkpoint, its `best` and `curve` as tuples of their types.

    Raises:
        UserError: it is damaged, or the weights that it refers to are.
    """
    state = checked_files.load(path)
    if state["best"] is not None:
        state["best"] = Best(*state["best"])
        checked_files.check(path.with_name(state["best"].file))
    state["curve"] = [CurveRow(*row) for row in state["curve"]]
    return state
