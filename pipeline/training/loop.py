"""The one training loop. It knows batches, losses and steps, and no task.

A run is a function of the step number alone: batches come from `task.batches[step]`, rates from the
schedule, and nothing random has a state. So a checkpoint is the weights, the optimiser and the
step, and a run that was killed and resumed ends with the same bytes as one that was left alone.

Nothing waits for the device: what a step finds stays there, and is looked at when a row of the
curve is due.

A step's global batch is cut into micro-batches, each small enough for a forward and a backward of
its own. Workers share them out, so the global batch is what params.yaml says, whatever the number
of workers.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pipeline.data.loading.sampler import MicroBatch
from pipeline.errors import UserError
from pipeline.tracking.client import Run
from pipeline.training import collectives, curves, data_parallel
from pipeline.training.curves import CurveKind, CurveRow
from pipeline.training.data_parallel import WrappedModel
from pipeline.training.optim import AdamW, OptimParams, adamw, learning_rate, set_learning_rate
from pipeline.training.step import Task, train_step
from pipeline.utils import files, malloc

KEEP = 2  # checkpoints


@dataclass(frozen=True)
class LoopParams:
    """How a run is carried out; of these only `precision` can change more of its result than the
    last digits, and `gradient_accumulation` where a model has batch norms or a codebook."""

    precision: Literal["fp32", "bf16"]
    gradient_accumulation: int  # of a step; workers share them out evenly
    parallel: (
        data_parallel.ParallelKind
    )  # ddp: a replica per worker; fsdp2: weights in shards, for models larger than base
    activation_checkpointing: (
        bool  # compute a block again in the backward pass instead of keeping its activations
    )
    loader_workers: int  # processes that prepare batches ahead; 0: in the training process
    log_every: int  # steps
    evaluate_every: int  # steps; the last step is always evaluated
    checkpoint_every: int  # steps
    # consecutive steps without a finite gradient after which the run stops, at the curve's next row
    max_nonfinite_steps: int


@dataclass(frozen=True)
class FineTuneParams(OptimParams):
    """What every block `<scale>.finetune.<data>` has; a task adds its own keys to these and the
    optimiser's."""

    seed: int
    drop_path: float
    evaluation_batch: int  # samples; of segmentation, windows
    loop: LoopParams
    num_workers: int  # Ray Train workers; 0: in this process
    threads: int  # per worker


@dataclass
class TrainState:
    """All that a run needs in order to go on."""

    parallel: WrappedModel
    optimizer: AdamW
    step: int = 0  # steps done
    best: dict[str, float] = field(
        default_factory=dict
    )  # `score` and `step` of the best evaluation so far
    sums: dict[str, float | Tensor] = field(
        default_factory=dict
    )  # of values of the `steps` since the curve's last row
    bad: float | Tensor = 0.0  # steps in a row, up to this one, without a finite gradient
    worst: float | Tensor = 0.0  # the longest such row

    def add(self, values: dict[str, Tensor]) -> None:
        """Count a step and its values in, on the device where they are."""
        self.step += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.double()
        self.sums["steps"] = self.sums.get("steps", 0.0) + 1.0
        self.bad = (self.bad + 1) * (1 - values["finite"])
        self.worst = self.bad.clamp(min=self.worst)

    def means(self) -> dict[str, float]:
        """The means of the values since the last call."""
        sums = self.fetched()
        self.sums = {}
        return {name: total / sums["steps"] for name, total in sums.items() if name != "steps"}

    def fetched(self) -> dict[str, float]:
        """The sums, from the device."""
        return {name: float(total) for name, total in self.sums.items()}

    def save(self, folder: Path) -> None:
        """Write a checkpoint, and remove all but the last two. All workers call this; worker 0
        writes."""
        state = {
            **self.parallel.state(self.optimizer),
            "step": self.step,
            "best": self.best,
            "sums": self.fetched(),
        }
        if collectives.rank() != 0:
            return
        with files.replacing(folder / f"checkpoint-{self.step:08d}.pt") as path:
            torch.save(state, path)
        for old in checkpoints(folder)[:-KEEP]:
            old.unlink()

    def resume(self, folder: Path) -> None:
        """Go on from the last checkpoint, if there is one."""
        if not (saved := checkpoints(folder)):
            return
        state = torch.load(saved[-1], map_location="cpu", weights_only=True)
        self.parallel.restore(self.optimizer, state)
        self.step, self.best, self.sums = state["step"], state["best"], state["sums"]


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, the oldest first."""
    return sorted(folder.glob("checkpoint-*.pt"))


def train(task: Task, optim: OptimParams, loop: LoopParams, folder: Path, run: Run) -> None:
    """Train `task.model` for `optim.steps` steps in total, resuming from `folder`.

    Afterwards the model has the best weights by the metric `score`, or the last ones where no
    metric has that name. `folder` holds checkpoints and `curve.jsonl`. Every worker calls this;
    worker 0 alone writes.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    malloc.keep_freed_memory()
    if loop.activation_checkpointing:
        _backbone(task.model).set_grad_checkpointing()
    wrapped = data_parallel.wrap(task.model, loop.parallel, device)
    # on CPUs hardly faster (docs/performance.md)
    if device.type == "cuda" and (backbone := _backbone(wrapped.model)) is not None:
        # after wrapping: FSDP shards a copy, which would not be compiled
        backbone.compile_blocks()
    state = TrainState(wrapped, adamw(wrapped.model, optim))
    state.resume(folder)
    curve = Curve(folder / curves.JSONL, state.step, run)
    if state.step:
        say(f"resumed at step {state.step} of {optim.steps}")
    clock = Clock(optim.steps, state.step)
    for parts in _steps(task, loop, range(state.step, optim.steps)):
        set_learning_rate(state.optimizer, learning_rate(state.step, optim))
        values = train_step(
            task, wrapped, state.optimizer, parts, optim.max_grad_norm, loop.precision
        )
        state.add(values)
        last = state.step == optim.steps
        if state.step % loop.log_every == 0 or last:
            if state.worst > loop.max_nonfinite_steps:
                raise UserError(
                    f"training stopped at step {state.step}: {int(state.worst)} steps in a row without a "
                    f"finite gradient ({_diagnosis(values)}); lower the learning rate, or train in fp32"
                )
            row = {**state.means(), "lr": state.optimizer.param_groups[0]["lr"]}
            curve.add(state.step, "train", row, clock.rate(state))
        if state.step % loop.evaluate_every == 0 or last:
            _evaluate(task, state, folder, curve)
        if state.step % loop.checkpoint_every == 0 or last:
            state.save(folder)
    collectives.barrier()
    with wrapped.full_params(task.model):
        if state.best and (folder / "best.pt").exists():
            task.model.load_state_dict(
                torch.load(folder / "best.pt", map_location=device, weights_only=True)
            )


def _backbone(model: nn.Module) -> Any:
    """The backbone of a model; None for the visual tokenizer, which has none."""
    return getattr(model, "backbone", None)


def _steps(task: Task, loop: LoopParams, steps: range) -> Iterator[Sequence[Any]]:
    """This worker's micro-batches of each step."""
    world, rank, count = collectives.world_size(), collectives.rank(), loop.gradient_accumulation
    if count % world:
        raise UserError(
            f"params.yaml: loop.gradient_accumulation: {count} cannot be shared by {world} workers; use a multiple"
        )
    own = count // world
    order = (
        MicroBatch(step, rank * own + number, count) for step in steps for number in range(own)
    )
    loader = DataLoader(
        task.batches,
        batch_size=None,
        sampler=order,
        num_workers=loop.loader_workers,
        pin_memory=torch.cuda.is_available(),
    )
    return zip(*[iter(loader)] * own, strict=True)


def evaluate(task: Task) -> dict[str, float]:
    """The task's validation metrics of the model as it stands."""
    task.model.eval()
    with torch.inference_mode():
        return task.evaluate()


def _evaluate(task: Task, state: TrainState, folder: Path, curve: "Curve") -> None:
    """Evaluate on worker 0, and keep the weights if their score is the best so far."""
    with state.parallel.full_params(task.model):
        if collectives.rank() == 0:
            metrics = evaluate(task)
            curve.add(state.step, "validation", metrics, {})
            if "score" in metrics and metrics["score"] > state.best.get("score", float("-inf")):
                state.best = {"score": metrics["score"], "step": float(state.step)}
                with files.replacing(folder / "best.pt") as path:
                    torch.save(task.model.state_dict(), path)
    collectives.barrier()


class Curve:
    """Metrics by step, in a file of JSON lines and in the tracked run. Worker 0 alone writes."""

    def __init__(self, path: Path, step: int, run: Run):
        self.path, self.run = path, run
        if collectives.rank() == 0:
            done = [row for row in curves.read_jsonl(path) if row.step <= step]
            curves.write_jsonl(path, done)

    def add(
        self, step: int, kind: CurveKind, values: dict[str, float], rates: dict[str, float]
    ) -> None:
        """Note `values` at a step; `rates` go to the tracked run and the screen, never into the
        file."""
        if collectives.rank() != 0:
            return
        curves.append_jsonl(self.path, CurveRow(step, kind, values))
        self.run.metrics(
            {f"{kind}/{name}": value for name, value in {**values, **rates}.items()}, step
        )
        shown = {name: value for name, value in {**values, **rates}.items() if name != "finite"}
        say(
            f"{kind} step {step}: "
            + " ".join(f"{name} {value:.4g}" for name, value in shown.items())
        )


class Clock:
    """Steps per second since the last look, and the time that is left."""

    def __init__(self, steps: int, step: int):
        self.steps, self.step, self.time = steps, step, time.monotonic()

    def rate(self, state: TrainState) -> dict[str, float]:
        """`steps_per_s` and `minutes_left`."""
        now = time.monotonic()
        rate = (state.step - self.step) / max(now - self.time, 1e-9)
        self.step, self.time = state.step, now
        return {
            "steps_per_s": rate,
            "minutes_left": (self.steps - state.step) / max(rate, 1e-9) / 60,
        }


def say(line: str) -> None:
    """A line for the person who watches, from worker 0."""
    if collectives.rank() == 0:
        sys.stderr.write(line + "\n")  # not `print`, which Ray Train doubles


def _diagnosis(values: dict[str, Tensor]) -> str:
    return ", ".join(
        f"{name} {value.item():.4g}" for name, value in values.items() if name != "finite"
    )
