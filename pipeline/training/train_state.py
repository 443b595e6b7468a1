"""What a run needs in order to go on, and its checkpoints."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from pipeline.training import collectives
from pipeline.training.data_parallel import WrappedModel
from pipeline.training.optim import AdamW
from pipeline.utils import files

KEPT_CHECKPOINTS = 2


@dataclass
class TrainState:
    """A run after `step` steps. What steps return stays on their device, so nothing waits for
    it."""

    parallel: WrappedModel
    optimizer: AdamW
    step: int = 0
    # `score` and `step` of the best evaluation so far
    best: dict[str, float] = field(default_factory=dict)
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

    def save(self, folder: Path) -> None:
        """Write a checkpoint, and remove all but the last ones. All workers call this; worker 0
        writes."""
        state = {
            **self.parallel.state(self.optimizer),
            "step": self.step,
            "best": self.best,
            "sums": self._fetch_sums(),
        }
        if collectives.rank() != 0:
            return
        with files.replacing(folder / f"checkpoint-{self.step:08d}.pt") as path:
            torch.save(state, path)
        for old in checkpoints(folder)[:-KEPT_CHECKPOINTS]:
            old.unlink()

    def resume(self, folder: Path) -> None:
        """Go on from the last checkpoint, if there is one."""
        if not (saved := checkpoints(folder)):
            return
        state = torch.load(saved[-1], map_location="cpu", weights_only=True)
        self.parallel.restore(self.optimizer, state)
        self.step, self.best, self.sums = state["step"], state["best"], state["sums"]

    def _fetch_sums(self) -> dict[str, float]:
        return {name: float(total) for name, total in self.sums.items()}


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, the oldest first."""
    return sorted(folder.glob("checkpoint-*.pt"))
