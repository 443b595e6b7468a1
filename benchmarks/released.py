"""How long released weights take to evaluate: `python -m benchmarks.released [NAME ...]`.

The evaluations of the preset `paper`, or those named, at their own sizes, with made-up weights, all
threads, in fp32 and in bf16: seconds for what is evaluated (an image and its captions; a question, a
statement about two images, a window of 512 or 640 pixels), a process's peak memory, and projected
from these the time of the whole evaluation here, and by FLOPs on the GPU that the preset `one-gpu`
assumes. Seconds are CPU seconds over threads, so that other load on the machine counts little.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import torch
from torch import Tensor

from model.meta import Model, undrawn
from pipeline.config import params
from pipeline.data.datasets import facts
from pipeline.planning import evaluation_cost
from pipeline.planning.data_cost import planned_sources
from pipeline.planning.plan import PlanParams
from pipeline.released import imports
from pipeline.tasks import evaluations
from pipeline.utils.progress import duration

BATCH, ROUNDS, TEXT = 4, 3, 14  # TEXT: ids of a caption or question, about COCO's mean
CAPTIONS = 5  # of an image
HOUR = 3600
WHAT = {  # is timed, by task
    "retrieval": f"image and {CAPTIONS} captions",
    "vqa": "question",
    "nlvr2": "statement",
    "classification": "image",
    "segmentation": "window",
}


def lines(names: list[str]) -> Iterator[str]:
    """A row of the table for each evaluation, each from a process of its own."""
    preset = params.preset("paper")
    costs = {
        cost.stage: cost for cost in evaluation_cost.of_imports(preset, planned_sources(preset))
    }
    assumed = params.preset("one-gpu").load(PlanParams, "plan")
    yield "| evaluation | parameters | one | fp32 s | bf16 s | memory | here, fp32 | one GPU |"
    yield "|---|---:|---|---:|---:|---:|---:|---:|"
    spawn = multiprocessing.get_context("spawn")
    for name in names or _of_imports(preset):
        cost = costs[f"evaluate {name}"]
        gpu = assumed.hours(cost.flops, cost.precision) * HOUR
        with spawn.Pool(1) as pool:
            yield f"{pool.apply(_measured, (name,))} | {duration(gpu)} |"


def _measured(name: str) -> str:
    """The row but for its last cell."""
    preset = params.preset("paper")
    listed = evaluations.load(name, preset)
    imported = imports.load(listed.model.removeprefix(evaluations.IMPORT), preset)
    cls, config = imported.planned()
    model = made_up(lambda: cls(config))
    count = 1 if listed.task == "segmentation" else BATCH
    step = forward(listed.task, model, count)
    tested = facts.read(listed.data).plan.tested
    fp32, bf16 = _seconds(step, count, bf16=False), _seconds(step, count, bf16=True)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    times = 2 if listed.task in ("nlvr2", "segmentation") else 1  # passes, windows of an image
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return (
        f"| {name} | {parameters / 1e6:.0f}M | {WHAT[listed.task]} | {fp32:.2f} | {bf16:.2f} | "
        f"{memory / 1e9:.1f} GB | {duration(times * tested * fp32)}"
    )


def _seconds(step: Callable[[], Any], count: int, *, bf16: bool) -> float:
    """Median CPU seconds for one of `count`, over threads, after a round that is not counted."""
    measured = []
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for _ in range(ROUNDS + 1):
            start = time.process_time()
            step()
            measured.append((time.process_time() - start) / torch.get_num_threads() / count)
    return median(measured[1:])


def _of_imports(preset: params.Params) -> list[str]:
    names = evaluations.names(preset)
    return [name for name in names if evaluations.load(name, preset).is_of_released_weights]


def made_up(build: Callable[[], Model]) -> Model:
    """A model with numbers of the size of initial ones, in evaluation mode."""
    model = undrawn(build).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.uniform_(-0.02, 0.02)
    return model


def forward(task: str, model: Any, count: int) -> Callable[[], Any]:
    """A function that does for `count` images, questions, statements or windows what the task's
    evaluation does."""
    config = model.config
    size = config.backbone.image_size
    pixels = torch.rand(count, 3, size, size) * 2 - 1
    ids = torch.randint(5, max(config.backbone.vocab_size, 6), (count * CAPTIONS, TEXT))
    mask = torch.ones(count, TEXT, dtype=torch.bool)

    def dual() -> Tensor:
        model.encode_text(ids, None)
        return model.encode_image(pixels)

    functions: dict[str, Callable[[], Any]] = {
        "retrieval": dual,
        "vqa": lambda: model(pixels, ids[:count], mask),
        "nlvr2": lambda: model(torch.stack([pixels, pixels], 1), ids[:count], mask),
        "classification": lambda: model(pixels),
        "segmentation": lambda: model.logits(pixels),
    }
    return torch.inference_mode()(functions[task])


if __name__ == "__main__":
    for line in lines(sys.argv[1:]):
        print(line, flush=True)
