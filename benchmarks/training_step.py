"""How fast a pretraining step is: `python -m benchmarks.training_step`, with `--help` for what can
be chosen.

Base size, all three streams, forward, backward and optimizer: texts of 196 tokens, images of 197,
pairs of 40 and 197, whose captions are padded. In turn with it, and on random data like it, run

    timm     ViT-B/16 of timm, as it comes, on as many tokens, with the same optimizer: what one can
             hope for
    plain    `benchmarks.plain`, the same step as one writes it first
    online   our step with BEiTv2's tokenizer before it, as where visual tokens are not precomputed
             (fp32, as always)

and each round is a micro-batch of each; the first three do not count. Prints these, then seconds of
a step (the median micro-batch times their number, and the update), FLOPs per second, and the median
of the rounds' ratios. FLOPs are those of `pipeline.utils.flops`, three times a forward pass, heads
on masked positions. On CPUs also the most memory that the process held (`--against` with nothing
behind it: without references); on CUDA the share of an H100's 989 TFLOP/s and memory, for several
micro-batches. Needs torch and timm alone.
"""

import argparse
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plain import Plain
from model.backbone.config import BackboneConfig
from model.pretraining.batches import ImageBatch, PairBatch, PretrainingBatch, TextBatch
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from model.timm_import import import_timm
from model.tokenizer.vqkd import VisualTokenizer, VQKDConfig
from pipeline.tasks.classification.cost import sample_flops as classification_flops
from pipeline.training.data_parallel import DDPModel
from pipeline.training.optim import OptimParams, adamw
from pipeline.training.step import Task, backward, optimizer_step, to_device
from pipeline.utils import flops, malloc

CODEBOOK_SIZE, TEXT, CAPTION = 8192, 196, 40
MASKED_PATCHES = 75 / 196
GPU_MICRO_BATCHES = (16, 32, 64, 96, 128, 192, 256)
# Rounds that do not count: blocks are compiled on CUDA, on CPUs the process gets its memory.
WARM_UP = 3
H100 = 989e12  # FLOP/s, dense bf16
OPTIM = OptimParams(
    steps=1,
    lr=1e-4,
    min_lr=0.0,
    warmup_steps=0,
    schedule="cosine",
    weight_decay=0.05,
    betas=[0.9, 0.999],
    eps=1e-8,
    max_grad_norm=3.0,
    head_lr_mult=1.0,
    layer_decay=1.0,
)


@dataclass(frozen=True)
class Candidate:
    """What is timed."""

    micro: Callable[[], Any]  # forward and backward
    update: Callable[[], Any]  # the optimizer, once a step
    flops: float  # of a micro-batch


def base(depth: int) -> MaskedModelingConfig:
    """VL-BEiT base."""
    return MaskedModelingConfig(
        BackboneConfig(
            image_size=224,
            patch_size=16,
            depth=depth,
            embed_dim=768,
            num_heads=12,
            mlp_dim=3072,
            vocab_size=64_000,
            text_length=TEXT,
            experts="mome",
            drop_path=0.1,
            init_std=0.02,
        ),
        CODEBOOK_SIZE,
    )


def random_batch(
    config: BackboneConfig, size: int, codebook_size: int, device: torch.device
) -> PretrainingBatch:
    """`size` texts, images and pairs with masked positions."""
    masked_patches = round(MASKED_PATCHES * config.patches)

    def text(length: int, ratio: float, shortest: int) -> TextBatch:
        lengths = torch.randint(shortest, length + 1, (size,))
        lengths[-1] = length
        mask = torch.arange(length) < lengths[:, None]
        positions = (mask & (torch.rand(size, length) < ratio)).flatten().nonzero().flatten()
        return TextBatch(
            ids=torch.randint(5, config.vocab_size, (size, length)),
            mask=None if mask.all() else mask,
            masked_positions=positions,
            targets=torch.randint(5, config.vocab_size, positions.shape),
        )

    def image() -> ImageBatch:
        masked = torch.rand(size, config.patches).argsort(dim=1) < masked_patches
        return ImageBatch(
            pixels=torch.rand(size, 3, config.image_size, config.image_size) * 2 - 1,
            masked=masked,
            masked_positions=masked.flatten().nonzero().flatten(),
            targets=torch.randint(codebook_size, (size * masked_patches,)),
        )

    noise = [torch.rand(size, config.depth, 3) for _ in range(3)]
    caption = min(CAPTION, config.text_length)
    batch = PretrainingBatch(
        texts=text(config.text_length, 0.15, config.text_length)._replace(drop_path_noise=noise[0]),
        images=image()._replace(drop_path_noise=noise[1]),
        pairs=PairBatch(text(caption, 0.5, caption // 3), image(), noise[2]),
    )
    return to_device(batch, device)


def step_flops(config: MaskedModelingConfig, batch: PretrainingBatch) -> float:
    """Of a micro-batch, forward and backward."""
    assert batch.images is not None and batch.pairs is not None
    size = len(batch.images.pixels)
    targets = {name: count / size for name, count in Pretraining().num_targets(batch).items()}
    caption = batch.pairs.text.ids.shape[1]
    return (
        flops.TRAINING
        * size
        * (
            flops.mlm(config, config.backbone.text_length, targets["mlm"])
            + flops.mim(config, targets["mim"])
            + flops.mvlm(config, caption, targets["mvlm_text"], targets["mvlm_image"])
        )
    )


class Pretraining(Task):
    """The four losses on given batches."""

    loss_weights = dict.fromkeys(("mlm", "mim", "mvlm_text", "mvlm_image"), 1.0)

    def loss(self, module: nn.Module, batch: PretrainingBatch) -> dict[str, Tensor]:
        return module(batch)

    def num_targets(self, batch: PretrainingBatch) -> dict[str, float]:
        texts, images, pairs = batch
        assert texts is not None and images is not None and pairs is not None
        return {
            "mlm": len(texts.masked_positions),
            "mim": len(images.masked_positions),
            "mvlm_text": len(pairs.text.masked_positions),
            "mvlm_image": len(pairs.image.masked_positions),
        }


def ours(
    config: MaskedModelingConfig, batch: PretrainingBatch, precision: str, device: torch.device
) -> Candidate:
    """The step of `pipeline.training.loop`."""
    model = MaskedModeling(config)
    if device.type == "cuda":
        model.backbone.compile_blocks()
    wrapped = DDPModel(model.to(device))
    optimizer, task = adamw(model, OPTIM), Pretraining()

    def last() -> None:
        optimizer_step(wrapped, optimizer, OPTIM.max_grad_norm)
        optimizer.zero_grad(set_to_none=True)

    return Candidate(
        lambda: backward(task, wrapped, [batch], precision), last, step_flops(config, batch)
    )


def reference(
    model: nn.Module,
    loss: Callable[[], Tensor],
    flop: float,
    precision: str,
    device: torch.device,
    **adam: Any,
) -> Candidate:
    """A model with torch's usual loop."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=OPTIM.lr, **adam)

    def micro() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            total = loss()
        total.backward()

    def last() -> None:
        nn.utils.clip_grad_norm_(model.parameters(), OPTIM.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return Candidate(micro, last, flop)


def timm_vit(
    config: MaskedModelingConfig, size: int, precision: str, device: torch.device
) -> Candidate:
    """As many tokens as `size` of each stream have, in images."""
    image = 1 + config.backbone.patches  # tokens
    count = round(size * (TEXT + CAPTION + 2 * image) / image)
    model = (
        import_timm().create_model("vit_base_patch16_224", depth=config.backbone.depth).to(device)
    )
    pixels = torch.randn(count, 3, 224, 224, device=device)
    labels = torch.randint(1000, (count,), device=device)
    flop = flops.TRAINING * count * classification_flops(config.backbone, 1000)
    return reference(
        model,
        lambda: nn.functional.cross_entropy(model(pixels), labels),
        flop,
        precision,
        device,
        fused=True,
    )


def plain(
    config: MaskedModelingConfig, batch: PretrainingBatch, precision: str, device: torch.device
) -> Candidate:
    """The step as one writes it first."""
    model = Plain(config.backbone, CODEBOOK_SIZE).to(device)
    targets = Pretraining().num_targets(batch)

    def loss() -> Tensor:
        return torch.stack([loss / targets[name] for name, loss in model(batch).items()]).sum()

    return reference(model, loss, step_flops(config, batch), precision, device)


def online(
    config: MaskedModelingConfig, batch: PretrainingBatch, precision: str, device: torch.device
) -> Candidate:
    """Our step with visual tokens made in it: of the images, and of the pairs' images."""
    mine, size = ours(config, batch, precision, device), config.backbone
    sizes = VQKDConfig(
        size.image_size,
        size.patch_size,
        size.depth,
        1,
        size.embed_dim,
        size.num_heads,
        CODEBOOK_SIZE,
        codebook_dim=32,
        teacher_dim=size.embed_dim,
        ema_decay=0.99,
        codebook_start_step=0,
    )
    tokenizer = VisualTokenizer(sizes).to(device).eval()
    assert batch.images is not None and batch.pairs is not None
    images, pair_images = batch.images.pixels, batch.pairs.image.pixels

    def micro() -> None:
        tokenizer.token_ids(images)
        tokenizer.token_ids(pair_images)
        mine.micro()

    return Candidate(micro, mine.update, mine.flops)


def timed(call: Callable[[], Any], device: torch.device) -> float:
    """Seconds."""
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(
    candidates: Mapping[str, Candidate],
    rounds: int,
    gradient_accumulation: int,
    device: torch.device,
) -> None:
    """Print a line per candidate, ratios against the first."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(WARM_UP + rounds):
        for name, candidate in candidates.items():
            times[name].append(timed(candidate.micro, device))
            if number == 0:
                candidate.update()  # as at the end of a step: what follows lays out memory anew
        print(
            "  "
            + ", ".join(f"{name} {times[name][-1]:.2f} s" for name in candidates)
            + (", not counted" if number < WARM_UP else ""),
            flush=True,
        )
    times = {name: seconds[WARM_UP:] for name, seconds in times.items()}
    rates, first = {}, next(iter(candidates))
    for name, candidate in candidates.items():
        last = timed(candidate.update, device)
        step = gradient_accumulation * median(times[name]) + last
        rates[name] = [
            candidate.flops * gradient_accumulation / (gradient_accumulation * seconds + last)
            for seconds in times[name]
        ]
        ratio = median(mine / other for mine, other in zip(rates[first], rates[name], strict=True))
        print(
            f"  {name:6} {step:8.2f} s a step, update {last:5.2f} s; "
            f"{median(rates[name]) / 1e9:8.1f} GFLOP/s; {first} does {ratio:.3f} times as much",
            flush=True,
        )


def sweep(config: MaskedModelingConfig, precision: str, rounds: int, device: torch.device) -> None:
    """On CUDA, print a line per micro-batch: rate, share of an H100's, and memory."""
    for size in GPU_MICRO_BATCHES:
        torch.compiler.reset()  # or it compiles for any size, and training has one
        batch = random_batch(config.backbone, size, CODEBOOK_SIZE, device)
        try:
            candidate = ours(config, batch, precision, device)
            candidate.micro()
            fixed = torch.cuda.memory_allocated()  # gradients included
            torch.cuda.reset_peak_memory_stats()
            seconds = median(
                [timed(candidate.micro, device) for _ in range(WARM_UP + rounds)][WARM_UP:]
            )
        except torch.OutOfMemoryError:
            print(f"  {size:4} of each stream: no room")
            return
        grown = torch.cuda.max_memory_allocated() - fixed
        print(
            f"  {size:4} of each stream: {candidate.flops / seconds / 1e12:6.1f} TFLOP/s, "
            f"{candidate.flops / seconds / H100:.1%} of an H100; {grown / size / 2**20:.0f} MB for "
            f"a text, an image and a pair, {fixed / 2**30:.1f} GB besides",
            flush=True,
        )


def profile(candidate: Candidate, device: torch.device) -> None:
    """Print the shares of operations in a micro-batch."""
    for call in [candidate.micro] * WARM_UP + [candidate.update]:
        timed(call, device)
    activities = [torch.profiler.ProfilerActivity.CPU]
    activities += [torch.profiler.ProfilerActivity.CUDA] if device.type == "cuda" else []
    with torch.profiler.profile(activities=activities) as profiler:
        timed(candidate.micro, device)
        timed(candidate.update, device)
    by = f"self_{device.type}_time_total"
    print(profiler.key_averages().table(sort_by=by, row_limit=25, max_name_column_width=60))


def main(words: Sequence[str] | None = None) -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument(
        "--against", nargs="*", choices=["timm", "plain", "online"], default=["timm", "plain"]
    )
    parser.add_argument("--micro-batch", type=int, default=8, help="of each stream")
    parser.add_argument("--micro-batches", type=int, default=4, help="of a step")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--depth", type=int, default=12, help="fewer blocks for a quick look")
    parser.add_argument(
        "--profile", action="store_true", help="shares of operations, instead of times"
    )
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    malloc.keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config, size = base(options.depth), options.micro_batch
    batch = random_batch(config.backbone, size, CODEBOOK_SIZE, device)
    candidates = {"ours": ours(config, batch, options.precision, device)}
    if "timm" in options.against:
        candidates["timm"] = timm_vit(config, size, options.precision, device)
    if "plain" in options.against:
        candidates["plain"] = plain(config, batch, options.precision, device)
    if "online" in options.against:
        candidates["online"] = online(config, batch, options.precision, device)
    if options.profile:
        for candidate in candidates.values():
            profile(candidate, device)
    else:
        print(
            f"{options.precision}, {options.micro_batches} micro-batches of {size} texts, "
            "images and pairs:"
        )
        compare(candidates, options.rounds, options.micro_batches, device)
        if device.type == "cpu":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"  {peak:.2f} GB held at most")
        else:
            del candidates
            sweep(config, options.precision, options.rounds, device)


if __name__ == "__main__":
    main()
