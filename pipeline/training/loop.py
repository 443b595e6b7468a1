"""The one training loop. It knows batches, losses and steps, and no task.

A run is a function of the step number alone: batches come from `task.batches`, learning rates from
the schedule, and nothing random has a state. So a checkpoint is the weights, the optimizer and the
step, and a run that was killed and resumed ends with the same bytes as one that was left alone.

Nothing waits for the device: what a step returns stays there until a row of the curve is due.

A step's global batch is cut into micro-batches, each small enough for a forward and a backward pass
of its own. Workers share them out, so the global batch is what params.yaml says, whatever the
number of workers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config.limits import Count, Processes, ShareBelowOne, Threads, TrainingPrecision
from pipeline.data.loading.sampler import MicroBatch
from pipeline.errors import UserError
from pipeline.tracking.client import Run
from pipeline.training import (
    checked_files,
    collectives,
    curves,
    data_parallel,
    loader,
    machine_limits,
    precision,
)
from pipeline.training.curve_logger import CurveLogger, log
from pipeline.training.optim import OptimParams, adamw, learning_rate, set_learning_rate
from pipeline.training.step import Task, train_step
from pipeline.training.train_state import TrainState
from pipeline.utils import finite, malloc


@dataclass(frozen=True)
class LoopParams:
    """How a run is carried out; of these only `precision` can change more of its result than the
    last digits, and `gradient_accumulation` where a model has batch norms or a codebook."""

    precision: TrainingPrecision
    gradient_accumulation: Count  # micro-batches of a step; workers share them out evenly
    # ddp: a replica per worker; fsdp2: sharded weights, for models larger than base
    parallel: data_parallel.ParallelKind
    # compute a block again in the backward pass instead of keeping its activations
    activation_checkpointing: bool
    loader_workers: Processes  # processes that prepare batches ahead; 0: in the training process
    log_every: Count  # steps
    evaluate_every: Count  # steps; the last step is always evaluated
    checkpoint_every: Count  # steps
    # consecutive steps without a finite gradient after which the run stops, at the curve's next row
    max_nonfinite_steps: int


@dataclass(frozen=True)
class FineTuneParams(OptimParams):
    """What every block `<scale>.finetune.<data>` has; a task adds its own keys to these and the
    optimizer's."""

    steps: Count
    seed: int
    drop_path: ShareBelowOne
    evaluation_batch: Count  # samples; of segmentation, windows
    loop: LoopParams
    num_workers: Processes  # Ray Train workers; 0: in this process
    threads: Threads  # per worker


def train(
    task: Task,
    optim: OptimParams,
    loop: LoopParams,
    work_dir: Path,
    run: Run,
    validation: dict[str, Any] | None = None,
) -> None:
    """Train `task.model` for `optim.steps` steps in total, resuming from `work_dir`.

    Afterwards the model has the best weights by the metric `score`, or the last ones where no
    metric has that name. `work_dir` holds checkpoints and the curve. Every worker calls this;
    worker 0 alone writes.

    validation: parameters of validation that change no weights; with others a run goes on, and what
    was measured before is left out of the curve.

    Raises:
        UserError: the workers cannot share out the micro-batches evenly, too many consecutive
            steps were without a finite gradient, a validation metric is NaN or infinite, no
            checkpoint is whole, or the file of the best weights is damaged.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    computed_in = precision.chosen(loop.precision, device)
    malloc.keep_freed_memory()
    if collectives.rank() == 0:
        machine_limits.check_disk(task.model, work_dir)
    wrapped = _wrap(task.model, loop, device)
    state = TrainState(wrapped, adamw(wrapped.model, optim), validation or {})
    state.resume(work_dir)
    if state.step:
        log(f"resumed at step {state.step} of {optim.steps}")
    validated = any(row.kind == "validation" for row in state.curve)
    run.tags({"precision": computed_in})
    logger = CurveLogger(work_dir / curves.JSONL, state.curve, state.step, optim.steps, run)
    if state.step == optim.steps and not validated:
        _validate(task, state, work_dir, logger)
    for batches in step_batches(task, loop, range(state.step, optim.steps)):
        set_learning_rate(state.optimizer, learning_rate(state.step, optim))
        values = train_step(
            task, wrapped, state.optimizer, batches, optim.max_grad_norm, computed_in
        )
        state.add(values)
        last = state.step == optim.steps
        if state.step % loop.log_every == 0 or last:
            _check_finite(state, values, loop.max_nonfinite_steps)
            logger.train(state.step, {**state.means(), "lr": state.optimizer.param_groups[0]["lr"]})
        if state.step % loop.evaluate_every == 0 or last:
            _validate(task, state, work_dir, logger)
        if state.step % loop.checkpoint_every == 0 or last:
            state.save(work_dir)
    collectives.barrier()
    with wrapped.full_params(task.model):
        if state.best and collectives.rank() == 0:
            weights = checked_files.load(work_dir / state.best.file, device)
            task.model.load_state_dict(weights)


def step_batches(task: Task, loop: LoopParams, steps: range) -> Iterator[Sequence[Any]]:
    """This worker's micro-batches of each step.

    Raises:
        UserError: the workers cannot share out the micro-batches evenly.
    """
    world_size, count = collectives.world_size(), loop.gradient_accumulation
    if count % world_size:
        raise UserError(
            f"params.yaml: loop.gradient_accumulation: {count} cannot be shared by {world_size} "
            "workers; use a multiple"
        )
    share = count // world_size
    first = collectives.rank() * share
    order = (MicroBatch(step, first + i, count) for step in steps for i in range(share))
    arriving = loader.load(task.batches, order, loop.loader_workers)
    return zip(*[arriving] * share, strict=True)


def evaluate(task: Task) -> dict[str, float]:
    """The task's validation metrics of the model as it stands.

    Raises:
        NonFiniteError: one of them, or what they are counted from, is NaN or infinite.
    """
    task.model.eval()
    with torch.inference_mode():
        metrics = task.evaluate()
    finite.check_tree(metrics, "validation")
    return metrics


def _wrap(model: nn.Module, loop: LoopParams, device: torch.device) -> data_parallel.WrappedModel:
    """The model on this worker, with checkpointed and compiled blocks where these help."""
    if loop.activation_checkpointing:
        _backbone(model).set_grad_checkpointing()
    wrapped = data_parallel.wrap(model, loop.parallel, device)
    # on CPUs hardly faster (docs/performance.md)
    if device.type == "cuda" and (backbone := _backbone(wrapped.model)) is not None:
        # after wrapping: FSDP shards a copy, which would not be compiled
        backbone.compile_blocks()
    return wrapped


def _backbone(model: nn.Module) -> Any:
    """The backbone of a model; None for the visual tokenizer, which has none."""
    return getattr(model, "backbone", None)


def _check_finite(state: TrainState, values: dict[str, Tensor], max_nonfinite_steps: int) -> None:
    """Stop a run that diverges; `values` are the last step's."""
    if state.most_nonfinite_steps <= max_nonfinite_steps:
        return
    last = [f"{name} {value.item():.4g}" for name, value in values.items() if name != "finite"]
    raise UserError(
        f"training stopped at step {state.step}: {int(state.most_nonfinite_steps)} steps in a row "
        f"without a finite gradient ({', '.join(last)}); lower the learning rate, or train "
        "in fp32"
    )


def _evaluate_at(step: int, task: Task) -> dict[str, float]:
    """As `evaluate`; the error says after which step."""
    try:
        return evaluate(task)
    except finite.NonFiniteError as error:
        raise UserError(f"training stopped at step {step}: {error}") from None


def _validate(task: Task, state: TrainState, work_dir: Path, logger: CurveLogger) -> None:
    """Evaluate on worker 0, and keep the weights if their score is the best so far."""
    with state.parallel.full_params(task.model):
        if collectives.rank() == 0:
            metrics = _evaluate_at(state.step, task)
            logger.validation(state.step, metrics)
            best = state.best.score if state.best else float("-inf")
            if "score" in metrics and metrics["score"] > best:
                state.keep_best(metrics["score"], task.model.state_dict(), work_dir)
    collectives.barrier()
