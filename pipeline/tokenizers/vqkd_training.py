"""The visual tokenizer: VQ-KD trained on the pictures of image shards (BEiTv2 §2.1)."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import checkpoint
from model.tokenizer.vqkd import VQKD, VisualTokenizer, VQKDConfig
from pipeline.config.params import Params
from pipeline.data.loading.row_reader import ImageReader
from pipeline.data.loading.sampler import MicroBatch, OrderParams, StreamSampler
from pipeline.data.shards import parquet
from pipeline.data.transforms import images, views
from pipeline.errors import UserError
from pipeline.tokenizers.beitv2_import import read_official
from pipeline.tokenizers.teacher_loading import NETWORKS, Kind, teacher
from pipeline.tracking import client as tracking
from pipeline.training import collectives, curves
from pipeline.training.loop import LoopParams, train
from pipeline.training.optim import OptimParams
from pipeline.training.step import Task
from pipeline.utils import files, workdir

EVALUATION_BATCH = 64  # pictures


@dataclass(frozen=True)
class SizeParams:
    """Size of the tokenizer; the length of the teacher's features comes from the teacher."""

    image_size: int  # pixels
    patch_size: int  # pixels
    depth: int  # blocks of the encoder
    decoder_depth: int  # blocks
    embed_dim: int
    num_heads: int
    codebook_size: int
    codebook_dim: int


@dataclass(frozen=True)
class LossWeightParams:
    """Of the losses in the sum (BEiTv2: both 1)."""

    cosine: float
    commitment: float


@dataclass(frozen=True)
class VisualTokenizerParams(OptimParams):
    """Block `visual_tokenizer`, whose `loop` starts from the block of that name."""

    origin: Literal[
        "train", "official"
    ]  # official: import BEiTv2's released file, nothing is trained
    official_file: str | None  # the released .pth file
    seed: int
    size: SizeParams
    ema_decay: float  # of the codebook's moving average
    codebook_start_step: int  # training batches before the codebook starts (BEiTv2: 0)
    teacher: Kind  # of a released file: which it had, clip or dino
    teacher_file: str | None  # weights of clip or dino, see `weights.read`
    sources: dict[str, int]  # how often an epoch passes through each source
    order: OrderParams
    views: views.ViewParams
    loss_weights: LossWeightParams
    loop: LoopParams
    evaluation_images: int  # of each source and split
    num_workers: int  # Ray Train workers; 0: in this process
    threads: int  # per worker

    def __post_init__(self) -> None:
        if (
            self.loop.gradient_accumulation != max(self.num_workers, 1)
            or self.loop.parallel != "ddp"
        ):
            raise UserError(
                "params.yaml: visual_tokenizer.loop: the codebook moves once per pass, on every worker "
                "alike: gradient_accumulation must be the number of workers, and parallel ddp"
            )
        if self.loop.activation_checkpointing:
            raise UserError(
                "params.yaml: visual_tokenizer.loop: activation_checkpointing: not for the tokenizer"
            )
        if self.origin == "official" and self.teacher not in NETWORKS:
            raise UserError(
                f"params.yaml: visual_tokenizer.teacher: that of a released file is clip or dino, not "
                f"{self.teacher}"
            )

    @property
    def used(self) -> list[str]:
        """Sources that an epoch passes through."""
        return [source for source, passes in self.sources.items() if passes]


def load_params(params: Params) -> VisualTokenizerParams:
    """The tokenizer's parameters in a file of parameters."""
    return params.load(VisualTokenizerParams, "visual_tokenizer", loop=("loop",))


class VQKDTask(Task):
    """What the training loop needs to know of VQ-KD."""

    def __init__(self, folder: Path, params: VisualTokenizerParams):
        """folder: holds the shards of every source."""
        self.folder, self.params = folder, params
        self.loss_weights: Mapping[str, float] = asdict(params.loss_weights)
        self.teacher = teacher(
            params.teacher, params.teacher_file, params.size.image_size, params.size.patch_size
        )
        torch.manual_seed(params.seed)  # the only draws from torch's generator
        self.model = VQKD(config(params, self.teacher.dim))

    @cached_property
    def batches(self) -> "PictureBatches":
        """Training pictures."""
        return PictureBatches(self.folder, self.params)

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cosine distance to the teacher, and the distance of the inputs from their codes. The
        codebook has no loss."""
        pixels = images.normalize(batch["pixels"])
        target = self.teacher.to(pixels.device)(pixels)
        decoded = module(pixels)
        distance = 1 - F.cosine_similarity(decoded.features.float(), target, dim=-1)
        commitment = (decoded.inputs - decoded.quantized).square()
        return {"cosine": distance.sum(), "commitment": commitment.sum()}

    def num_targets(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Patches, and the numbers of their codes."""
        patches = float(len(batch["pixels"]) * self.model.config.grid**2)
        return {"cosine": patches, "commitment": patches * self.model.config.codebook_dim}

    def evaluate(self) -> dict[str, float]:
        """Held-out cosine with the teacher, and the codes in use on held-out and training
        pictures."""
        teacher_cosine = _mean(self._cosines(pixels) for pixels in self._pictures("val"))
        return {
            "teacher_cosine": teacher_cosine,
            **code_usage(self.model, self._pictures("val", "train")),
        }

    def _cosines(self, pixels: Tensor) -> Tensor:
        target = self.teacher.to(pixels.device)(pixels)
        return F.cosine_similarity(self.model(pixels).features.float(), target, dim=-1)

    def _pictures(self, *splits: str) -> Iterator[Tensor]:
        device = next(self.model.parameters()).device
        return (pixels.to(device) for pixels in evaluation_images(self.folder, self.params, splits))


class PictureBatches:
    """Map-style data set: a part of a step to its pictures of the global batch, each in a view of
    its own."""

    def __init__(self, folder: Path, params: VisualTokenizerParams):
        self.params = params
        groups = [
            (group, None)
            for source in params.used
            for group in parquet.row_groups(folder / source, "train") * params.sources[source]
        ]
        self.rows = ImageReader(
            groups, cache=2 * params.order.streams * params.order.shuffle_block, pairs=False
        )
        self.order = StreamSampler(
            self.rows.group_sizes, params.order, params.seed, "visual_tokenizer"
        )

    def __getitem__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """`pixels` uint8 [batch, size, size, 3]."""
        units = self.order.samples(micro_batch)
        pixels = [self._picture(index.group, index.offset, index.position) for index in units]
        return {"pixels": torch.from_numpy(np.stack(pixels))}

    def _picture(self, group: int, unit: int, position: int) -> np.ndarray:
        picture, _ = self.rows.get(group, unit)
        image = images.decode(picture.image)
        view = views.draw(
            self.params.seed,
            picture.key,
            position,
            *image.size,
            images.mean_luma(image),
            self.params.views,
        )
        return views.apply(image, view, self.params.size.image_size)


@dataclass(frozen=True)
class Job:
    """The training of a tokenizer, as it travels to the workers."""

    place: Path  # work folder
    shards: Path  # holds the shards of every source
    params: VisualTokenizerParams


def run(job: Job) -> None:
    """Train the tokenizer, or resume its training, in every worker. Worker 0 leaves the results in
    the work folder."""
    first = collectives.rank() == 0
    with workdir.locked(job.place) if first else nullcontext(), _tracked(job, first) as tracked:
        if job.params.origin == "official":
            _import(job, tracked)
            return
        task = VQKDTask(job.shards, job.params)
        train(task, job.params, job.params.loop, job.place, tracked)
        if first:
            rows = curves.read_jsonl(job.place / curves.JSONL)
            measured = [row.values for row in rows if row.kind == "validation"]
            _finish(job, tokenizer_of(task.model), measured[-1], tracked)


def inputs(shards_folder: Path, params: VisualTokenizerParams) -> list[Path]:
    """The files that stand for all data of a run."""
    given = [params.official_file] if params.origin == "official" else [params.teacher_file]
    return [shards_folder / source / "index.json" for source in sorted(params.used)] + [
        Path(name) for name in given if name is not None and Path(name).is_file()
    ]


def config(params: VisualTokenizerParams, teacher_dim: int) -> VQKDConfig:
    """The model's configuration."""
    size = params.size
    return VQKDConfig(
        image_size=size.image_size,
        patch_size=size.patch_size,
        depth=size.depth,
        decoder_depth=size.decoder_depth,
        embed_dim=size.embed_dim,
        num_heads=size.num_heads,
        codebook_size=size.codebook_size,
        codebook_dim=size.codebook_dim,
        teacher_dim=teacher_dim,
        ema_decay=params.ema_decay,
        codebook_start_step=params.codebook_start_step,
    )


def tokenizer_of(model: VQKD) -> VisualTokenizer:
    """A trained model without what only training needs."""
    tokenizer = VisualTokenizer(model.config)
    kept = tokenizer.state_dict().keys()
    tokenizer.load_state_dict(
        {name: tensor for name, tensor in model.state_dict().items() if name in kept}
    )
    return tokenizer.eval()


def evaluation_images(
    folder: Path, params: VisualTokenizerParams, splits: tuple[str, ...]
) -> Iterator[Tensor]:
    """Batches float [n, 3, size, size] of whole pictures: the first of each source and split."""
    for split in splits:
        for source in params.used:
            rows = islice(
                parquet.read_rows(folder / source, split, ("image",)), params.evaluation_images
            )
            while batch := list(islice(rows, EVALUATION_BATCH)):
                pixels = [
                    images.square(images.decode(row["image"]), params.size.image_size)
                    for row in batch
                ]
                yield images.normalize(torch.from_numpy(np.stack(pixels)))


def code_usage(tokenizer: VisualTokenizer, pictures: Iterator[Tensor]) -> dict[str, float]:
    """How the codes are used on some pictures.

    Returns:
        `code_usage`: share of the codes that occur. `code_perplexity`: the number of codes that
        would be as informative if all were equally frequent (the exponential of the entropy).
    """
    codes = tokenizer.config.codebook_size
    counts = sum(
        torch.bincount(tokenizer.token_ids(pixels).flatten(), minlength=codes).cpu()
        for pixels in pictures
    )
    share = counts[counts > 0].double() / counts.sum()
    return {
        "code_usage": (counts > 0).double().mean().item(),
        "code_perplexity": torch.exp(-(share * share.log()).sum()).item(),
    }


def _import(job: Job, tracked: tracking.Run) -> None:
    """Take over a released tokenizer. Its teacher is not needed."""
    tokenizer = read_official(
        job.params.official_file, config(job.params, NETWORKS[job.params.teacher].dim)
    )
    usage = code_usage(tokenizer, evaluation_images(job.shards, job.params, ("val", "train")))
    _finish(job, tokenizer, usage, tracked)


def _finish(
    job: Job, tokenizer: VisualTokenizer, metrics: dict[str, float], tracked: tracking.Run
) -> None:
    """Write the tokenizer, the curve of its training and the metrics for publication."""
    folder = workdir.finished(job.place)
    checkpoint.save(tokenizer, folder / "model")
    curves.publish(curves.read_jsonl(job.place / curves.JSONL), folder)
    files.write_json(folder / "metrics.json", metrics)
    tracked.metrics(metrics)
    for source in job.params.used:
        tracked.dataset(job.shards / source, source, "training")


def _tracked(job: Job, first: bool) -> AbstractContextManager[tracking.Run]:
    if not first:
        return nullcontext(tracking.Run(None))
    return tracking.run(
        "visual tokenizer", stage="visual_tokenizer", params=asdict(job.params), work=job.place
    )


def _mean(parts: Iterator[Tensor]) -> float:
    return torch.cat([part.flatten() for part in parts]).mean().item()
