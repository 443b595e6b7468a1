"""How the time of a pretraining step grows: `python -m benchmarks.growth`, which draws
docs/growth.png.

From one small model, width, depth, length of the sequences and batch are each changed alone. Every
size has its turn in every round, and the median of three rounds is drawn against the FLOPs of
`pipeline.utils.flops`; the line has the rate of the model in the middle. fp32, two threads.
"""

from dataclasses import replace
from pathlib import Path
from statistics import median

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
CODES = 2048


def sized(**changes: int) -> BackboneConfig:
    """The middle model with changes; heads stay 64 wide, and texts are as long as pictures."""
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
        "width 128 to 768": [
            (sized(embed_dim=width), BATCH) for width in (128, 256, 384, 512, 768)
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
    candidates = [
        ours(
            MaskedModelingConfig(config, CODES),
            random_batch(config, batch, CODES, device),
            "fp32",
            device,
        )
        for config, batch in cases
    ]
    times = [
        [timed(candidate.micro, device) for candidate in candidates] for _ in range(1 + ROUNDS)
    ][1:]
    return [
        (candidate.flops, median(column))
        for candidate, column in zip(candidates, zip(*times), strict=True)
    ]


def draw(found: dict[str, list[tuple[float, float]]], rate: float, path: Path) -> None:
    """Seconds against FLOPs, both logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4.5), layout="constrained")
    for name, points in found.items():
        axes.loglog(*zip(*points, strict=True), "o-", label=name, markersize=4)
    ends = [edge(flops for points in found.values() for flops, _ in points) for edge in (min, max)]
    axes.loglog(
        ends,
        [flops / rate for flops in ends],
        "k--",
        label=f"FLOP model at {rate / 1e9:.0f} GFLOP/s",
    )
    axes.set(xlabel="FLOPs of a step", ylabel="seconds, forward and backward")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print and draw."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    malloc.keep_freed_memory()
    found = {name: measured(cases) for name, cases in sweeps().items()}
    flops, seconds = found["depth 2 to 16"][1]
    for name, points in found.items():
        print(
            f"{name}: "
            + ", ".join(
                f"{flop / 1e9:.0f} GFLOP {second:.3f} s ({flop / second / 1e9:.0f} GFLOP/s)"
                for flop, second in points
            )
        )
    draw(found, flops / seconds, Path("docs/growth.png"))


if __name__ == "__main__":
    main()
