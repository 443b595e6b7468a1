"""Weak scaling of pretraining: `python -m benchmarks.scaling`, in a project folder whose data
stages have run.

The step of `pretrain@main` at the scale of params.yaml, data included, on one Ray worker and on two
of one thread each; two have twice the global batch. Both run three times in turn. Prints seconds a
step, how much of it goes to data, and samples per second relative to one worker's. Two workers
that exchange no gradients show what the machine itself allows.
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

from pipeline.config import params as config
from pipeline.orchestration.ray_train import launch
from pipeline.pretraining.data import DataFolders
from pipeline.pretraining.task import PretrainingTask
from pipeline.pretraining.variants import PretrainParams, load_params
from pipeline.training import collectives, data_parallel, loop, precision
from pipeline.training.optim import adamw
from pipeline.training.step import backward, optimizer_step
from pipeline.utils import files, malloc

STEPS, WARM_UP, REPEATS = 20, 5, 3


@dataclass(frozen=True)
class Case:
    """What the workers measure."""

    folders: DataFolders
    params: PretrainParams
    all_reduce: bool  # whether workers exchange gradients
    result: Path


def measure(case: Case) -> None:
    """Seconds of each step and of its data, in every worker; worker 0 leaves them in
    `case.result`."""
    malloc.keep_freed_memory()
    params = case.params
    task = PretrainingTask(case.folders, params, None)
    device = torch.device("cpu")
    wrapped = data_parallel.wrap(task.model, "ddp", device)
    computed_in = precision.chosen(params.loop.precision, device)
    wrapped.module.train()
    optimizer = adamw(wrapped.model, params)
    rows = []
    steps = range(WARM_UP + STEPS)
    for waited, batches in _timed(loop.step_batches(task, params.loop, steps)):
        start = time.perf_counter()
        with nullcontext() if case.all_reduce else wrapped.no_sync():
            backward(task, wrapped, batches, computed_in)
        optimizer_step(wrapped, optimizer, params.max_grad_norm)
        optimizer.zero_grad(set_to_none=True)
        rows.append({"data": waited, "step": waited + time.perf_counter() - start})
    if collectives.rank() == 0:
        files.write_json(case.result, rows[WARM_UP:])


def _timed(steps: Iterator[Sequence[Any]]) -> Iterator[tuple[float, Sequence[Any]]]:
    """The seconds that each step's micro-batches took to come, and they."""
    start = time.perf_counter()
    for batches in steps:
        yield time.perf_counter() - start, batches
        start = time.perf_counter()


def scaled(params: PretrainParams, workers: int) -> PretrainParams:
    """The global batch of one worker times their number, in a micro-batch for each."""
    streams = {}
    for name, stream in vars(params.data).items():
        order = replace(stream.order, batch_size=workers * stream.order.batch_size)
        streams[name] = replace(stream, order=order)
    return replace(
        params,
        data=replace(params.data, **streams),
        loop=replace(params.loop, gradient_accumulation=workers),
    )


def run_case(case: Case, workers: int) -> dict[str, float]:
    """Median seconds of a `step` and of its `data`."""
    launch(measure, case, num_workers=workers, threads=1)
    steps = files.read_json(case.result)
    return {key: median(step[key] for step in steps) for key in ("step", "data")}


def line(name: str, workers: int, runs: list[dict[str, float]], single: list[float]) -> str:
    """What came of a case; `single`: seconds of a step of one worker, run by run."""
    step, data = (median(run[key] for run in runs) for key in ("step", "data"))
    speedups = [workers * seconds / run["step"] for seconds, run in zip(single, runs, strict=True)]
    speedup = median(speedups)
    return (
        f"{name:30} {step:.3f} s a step, {data:.3f} s of it data; "
        f"{speedup:.2f} times the samples of one ({speedup / workers:.2f} of linear)"
    )


def main() -> None:
    """Print a line per case."""
    settings = config.read()
    folders, params = DataFolders.of(settings.scale), load_params(settings, "main")
    cases = {
        "1 worker": (1, True),
        "2 workers": (2, True),
        "2 workers, no all-reduce": (2, False),
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "steps.json")
        for _ in range(REPEATS):
            for name, (workers, all_reduce) in cases.items():
                case = Case(folders, scaled(params, workers), all_reduce, result)
                runs[name].append(run_case(case, workers))
    single = [run["step"] for run in runs["1 worker"]]
    for name, (workers, _) in cases.items():
        print(line(name, workers, runs[name], single))


if __name__ == "__main__":
    main()
