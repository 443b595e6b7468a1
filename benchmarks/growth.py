"""How the time of a pretraining step grows: `python -m benchmarks.growth`, which draws
docs/growth.png.

From one small model, embed_dim, depth, length of the sequences and batch are each changed alone.
Every size has its turn in every round, and the median of three rounds is drawn against the FLOPs of
`pipeline.utils.flops`; the line has the rate of the model in the middle. fp32, two threads.
"""

from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.training_step import ours, random_batch, timed
from model.backbone.config import BackboneConfig
from model.pretraining.masked_modeling import MaskedModelingConfig
from pipeline.utils import malloc

ROUNDS = 3
BATCH = 4
MIDDLE = BackboneConfig(
    image_size=128,
    patch_size=16,
    depth=4,
    embed_dim=256,
    num_heads=4,
    mlp_dim=1024,
    vocab_size=2000,
    text_length=64,
    experts="mome",
    drop_path=0.1,
    init_std=0.02,
)
CODEBOOK_SIZE = 2048


def sized(**changes: Any) -> BackboneConfig:
    """The middle model with changes; heads stay 64 wide, and texts are as long as images."""
    config = replace(MIDDLE, **changes)
    return replace(
        config,
        num_heads=config.embed_dim // 64,
        mlp_dim=4 * config.embed_dim,
        text_length=config.patches,
    )


def sweeps() -> dict[str, list[tuple[BackboneConfig, int]]]:
    """By what changes: models and batches."""
    return {
        "embed_dim 128 to 768": [
            (sized(embed_dim=dim), BATCH) for dim in (128, 256, 384, 512, 768)
        ],
        "depth 2 to 16": [(sized(depth=depth), BATCH) for depth in (2, 4, 8, 16)],
        "length 16 to 400 patches": [
            (sized(image_size=16 * side), BATCH) for side in (4, 8, 12, 16, 20)
        ],
        "batch 1 to 16 of each stream": [(MIDDLE, batch) for batch in (1, 2, 4, 8, 16)],
    }


def measured(cases: list[tuple[BackboneConfig, int]]) -> list[tuple[float, float]]:
    """FLOPs and seconds of each case."""
    device = torch.device("cpu")
    candidates = []
    for config, batch_size in cases:
        batch = random_batch(config, batch_size, CODEBOOK_SIZE, device)
        candidates.append(ours(MaskedModelingConfig(config, CODEBOOK_SIZE), batch, "fp32", device))
    times: list[list[float]] = [[] for _ in candidates]
    for _ in range(1 + ROUNDS):
        for candidate, seconds in zip(candidates, times, strict=True):
            seconds.append(timed(candidate.micro, device))
    medians = [median(seconds[1:]) for seconds in times]
    return [
        (candidate.flops, seconds) for candidate, seconds in zip(candidates, medians, strict=True)
    ]


def draw(curves: dict[str, list[tuple[float, float]]], rate: float, path: Path) -> None:
    """Seconds against FLOPs, both logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4.5), layout="constrained")
    flops: list[float] = []
    for name, points in curves.items():
        axes.loglog(*zip(*points, strict=True), "o-", label=name, markersize=4)
        flops += [flop for flop, _ in points]
    ends = [min(flops), max(flops)]
    label = f"FLOP model at {rate / 1e9:.0f} GFLOP/s"
    axes.loglog(ends, [ends[0] / rate, ends[1] / rate], "k--", label=label)
    axes.set(xlabel="FLOPs of a step", ylabel="seconds, forward and backward")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print and draw."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    malloc.keep_freed_memory()
    curves = {name: measured(cases) for name, cases in sweeps().items()}
    for name, points in curves.items():
        print(f"{name}: {', '.join(described(*point) for point in points)}")
    flops, seconds = curves["depth 2 to 16"][1]
    draw(curves, flops / seconds, Path("docs/growth.png"))


def described(flops: float, seconds: float) -> str:
    return f"{flops / 1e9:.0f} GFLOP {seconds:.3f} s ({flops / seconds / 1e9:.0f} GFLOP/s)"


if __name__ == "__main__":
    main()
