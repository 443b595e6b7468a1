"""How long released weights take to evaluate: `python -m benchmarks.released [NAME ...]`.

The evaluations of the preset `paper`, or those named, at their own sizes, with made-up weights, all
threads, in fp32 and in bf16: seconds for what is evaluated (an image and a caption; a question, a
statement about two images, a window of 512 or 640 pixels), the process's greatest memory so far, and
projected from these the time of the whole evaluation here, and by FLOPs on one GPU.
"""

import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.clock import rates
from model.meta import undrawn
from pipeline.config import params
from pipeline.data.datasets import facts
from pipeline.planning import evaluation_cost
from pipeline.planning.data_cost import planned_sources
from pipeline.released import imports
from pipeline.tasks import evaluations
from pipeline.utils.progress import duration

BATCH, ROUNDS, TEXT = 4, 3, 14  # TEXT: ids of a caption or question, about COCO's mean
CAPTIONS = 5  # of an image
GPU, USED = 71e12, 0.4  # an RTX 4090's dense bf16 FLOP/s with fp32 sums, and the share assumed


def lines(names: list[str]) -> Iterator[str]:
    """A row of the table for each evaluation."""
    preset = params.preset("paper")
    sources = planned_sources(preset)
    costs = {cost.stage: cost for cost in evaluation_cost.of_imports(preset, sources)}
    yield "| evaluation | parameters | one | fp32 s | bf16 s | memory | here, fp32 | one GPU |"
    yield "|---|---:|---|---:|---:|---:|---:|---:|"
    for name in names or _of_imports(preset):
        listed = evaluations.load(name, preset)
        imported = imports.load(listed.model.removeprefix(evaluations.IMPORT), preset)
        model = _model(*imported.planned())
        what, step = _step(listed.task, model)
        tested = facts.read(listed.data).plan.tested
        seconds = {}
        for precision in ("fp32", "bf16"):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                seconds[precision] = 1 / rates({precision: step}, ROUNDS)[precision]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        times = 2 if listed.task in ("nlvr2", "segmentation") else 1  # passes, windows of an image
        gpu = costs[f"evaluate {name}"].flops / (GPU * USED)
        size = sum(parameter.numel() for parameter in model.parameters())
        yield (
            f"| {name} | {size / 1e6:.0f}M | {what} | {seconds['fp32']:.2f} | "
            f"{seconds['bf16']:.2f} | {memory / 1e9:.1f} GB | "
            f"{duration(times * tested * seconds['fp32'])} | {duration(gpu)} |"
        )


def _of_imports(preset: params.Params) -> list[str]:
    names = evaluations.names(preset)
    return [name for name in names if evaluations.load(name, preset).is_of_released_weights]


def _model(cls: Any, config: Any) -> nn.Module:
    """With numbers of the size of initial ones."""
    model = undrawn(lambda: cls(config)).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.uniform_(-0.02, 0.02)
    return model


def _step(task: str, model: Any) -> tuple[str, Callable[[], float]]:
    """What is timed, and a function that does it for a batch and returns how many that were."""
    config = model.config
    size, count = config.backbone.image_size, 1 if task == "segmentation" else BATCH
    pixels = torch.rand(count, 3, size, size) * 2 - 1
    ids = torch.randint(5, max(config.backbone.vocab_size, 6), (count * CAPTIONS, TEXT))
    mask = torch.ones(count, TEXT, dtype=torch.bool)

    def dual() -> Tensor:
        model.encode_text(ids, None)
        return model.encode_image(pixels)

    steps: dict[str, tuple[str, Callable[[], Any]]] = {
        "retrieval": (f"image and {CAPTIONS} captions", dual),
        "vqa": ("question", lambda: model(pixels, ids[:count], mask)),
        "nlvr2": (
            "statement",
            lambda: model(torch.stack([pixels, pixels], 1), ids[:count], mask),
        ),
        "classification": ("image", lambda: model(pixels)),
        "segmentation": ("window", lambda: model.logits(pixels)),
    }
    what, function = steps[task]

    def run() -> float:
        with torch.inference_mode():
            function()
        return count

    return what, run


if __name__ == "__main__":
    for line in lines(sys.argv[1:]):
        print(line, flush=True)
