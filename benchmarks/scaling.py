"""Weak scaling of pretraining: `python -m benchmarks.scaling`, in a project folder whose data
stages have run.

The step of `pretrain@main` at the scale of params.yaml, data included, on one Ray worker and on two
of one thread each; two have twice the global batch. Both run three times in turn. Prints seconds a
step, how much of it goes to data, and samples per second against one worker's. Two workers that
exchange no gradients show what the machine itself allows.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from pipeline.config import params
from pipeline.orchestration.ray_train import launch
from pipeline.pretraining.data import DataFolders
from pipeline.pretraining.task import CommonParams, PretrainingTask, VariantParams
from pipeline.training import collectives, data_parallel, loop
from pipeline.training.optim import adamw
from pipeline.training.step import backward, optimizer_step
from pipeline.utils import files, malloc

STEPS, WARM_UP, REPEATS = 20, 5, 3


@dataclass(frozen=True)
class Case:
    """What workers are asked for."""

    folders: DataFolders
    common: CommonParams
    variant: VariantParams
    exchange: bool  # gradients
    result: Path


def measure(case: Case) -> None:
    """Seconds of each step and of its data, in every worker; worker 0 leaves them in
    `case.result`."""
    malloc.keep_freed_memory()
    task = PretrainingTask(case.folders, case.common, case.variant, None)
    wrapped = data_parallel.wrap(task.model, "ddp", torch.device("cpu"))
    wrapped.module.train()
    optimizer = adamw(wrapped.model, case.common.optim)
    rows = []
    for waited, parts in _timed(loop.step_batches(task, case.common.loop, range(WARM_UP + STEPS))):
        start = time.perf_counter()
        with nullcontext() if case.exchange else wrapped.no_sync():
            backward(task, wrapped, parts, case.common.loop.precision)
        optimizer_step(wrapped, optimizer, case.params.max_grad_norm)
        optimizer.zero_grad(set_to_none=True)
        rows.append({"data": waited, "step": waited + time.perf_counter() - start})
    if collectives.rank() == 0:
        files.write_json(case.result, rows[WARM_UP:])


def _timed(steps: Iterator[Sequence[Any]]) -> Iterator[tuple[float, Sequence[Any]]]:
    """Each step's micro-batches and the seconds that they took to come."""
    start = time.perf_counter()
    for parts in steps:
        yield time.perf_counter() - start, parts
        start = time.perf_counter()


def grown(common: CommonParams, workers: int) -> CommonParams:
    """The global batch of one worker times their number, in a micro-batch for each."""
    streams = {
        name: replace(stream, order=replace(stream.order, batch=workers * stream.order.batch_size))
        for name, stream in vars(common.streams).items()
    }
    return replace(
        common,
        streams=replace(common.streams, **streams),
        loop=replace(common.loop, gradient_accumulation=workers),
    )


def main() -> None:
    """Print a line per case."""
    folders = DataFolders.of(params.scale())
    common = params.load(CommonParams, "pretrain.common")
    variant = params.load(VariantParams, "pretrain.variants.main")
    cases = {
        "1 worker": (1, True),
        "2 workers": (2, True),
        "2 workers, nothing exchanged": (2, False),
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "steps.json")
        for name, (workers, exchange) in [*cases.items()] * REPEATS:
            launch(
                measure,
                Case(folders, grown(common, workers), variant, exchange, result),
                num_workers=workers,
                threads=1,
            )
            steps = files.read_json(result)
            found[name].append(
                {key: median(step[key] for step in steps) for key in ("step", "data")}
            )
    for name, (workers, _) in cases.items():
        step, data = (median(run[key] for run in found[name]) for key in ("step", "data"))
        rate = median(
            workers * one["step"] / run["step"]
            for one, run in zip(found["1 worker"], found[name], strict=True)
        )
        print(
            f"{name:30} {step:.3f} s a step, {data:.3f} s of it data; {rate:.2f} times the samples of one "
            f"({rate / workers:.2f} of linear)"
        )


if __name__ == "__main__":
    main()
