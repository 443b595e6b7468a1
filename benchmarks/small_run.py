"""How fast this machine is at what a `make repro` of the small scale is made of: `python -m
benchmarks.small_run`.

Seconds of one pretraining step at the small scale's size (one thread, twelve texts, images and pairs
of random data) in fp32 and in bf16, of which the small scale takes bf16 where the processor has
instructions for it, and of the start of a stage that trains (Python, torch and this project). Divided by
those that docs/performance.md has of another machine, they tell what its times become here.
"""

import subprocess
import sys
import time
from statistics import median

import torch
from torch import optim

from benchmarks.training_step import Pretraining, random_batch
from model.backbone.config import BackboneConfig
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from pipeline.config import params
from pipeline.config.limits import Precision
from pipeline.training import precision
from pipeline.training.data_parallel import DDPModel
from pipeline.training.step import backward
from pipeline.utils import malloc

SAMPLES, STEPS, STARTS = 12, 40, 5


def main() -> None:
    chosen = precision.chosen("auto", torch.device("cpu"))
    for name in ("fp32", "bf16"):
        note = ", which the small scale takes here" if name == chosen else ""
        print(f"training step in {name}  {step_seconds(name):.3f} s{note}", flush=True)
    print(f"stage start            {start_seconds():.2f} s")


def step_seconds(name: Precision) -> float:
    """The median of some steps after a few that do not count."""
    malloc.keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    small = params.preset("small")
    size = small.subtree("pretrain.common.dimensions") | {"drop_path": 0.0}
    del size["caption_length"]
    vocabulary = small.subtree("text_tokenizer.vocab_size")
    backbone = BackboneConfig(**size, vocab_size=vocabulary, experts="mome")
    codes = small.subtree("visual_tokenizer.dimensions.codebook_size")
    mode = small.subtree("pretrain.common.architecture.mvlm_mode")
    model = MaskedModeling(MaskedModelingConfig(backbone, codes, mvlm_mode=mode))
    wrapped, task = DDPModel(model), Pretraining()
    optimizer = optim.AdamW(model.parameters(), fused=True)
    batch = random_batch(backbone, SAMPLES, codes, torch.device("cpu"))
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        backward(task, wrapped, [batch], name)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return median(seconds[STEPS // 4 :])


def start_seconds() -> float:
    """The median of some processes that import what a fine-tune does."""
    command = [
        sys.executable,
        "-c",
        "import stages.finetune, pipeline.tasks.retrieval.training.task",
    ]
    seconds = []
    for _ in range(STARTS):
        start = time.perf_counter()
        subprocess.run(command, check=True)
        seconds.append(time.perf_counter() - start)
    return median(seconds)


if __name__ == "__main__":
    main()
