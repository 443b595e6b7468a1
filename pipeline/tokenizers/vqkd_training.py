"""The visual tokenizer: VQ-KD trained on image shards (BEiTv2 §2.1)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.tokenizer import teachers
from model.tokenizer.vqkd import VQKD, VisualTokenizer, VQKDConfig
from pipeline.config.limits import Count, Layers, Passes, Pixels, Processes, Share, Threads, Width
from pipeline.config.params import Params
from pipeline.data.loading.requirements import require_order, require_split
from pipeline.data.loading.row_reader import ImageReader
from pipeline.data.loading.sampler import MicroBatch, OrderParams, StreamSampler
from pipeline.data.shards import parquet
from pipeline.data.transforms import images, views
from pipeline.errors import UserError
from pipeline.tokenizers.beitv2_import import read_official
from pipeline.tokenizers.teacher_loading import NETWORKS, TeacherName, load_teacher
from pipeline.tokenizers.visual_token_ids import visual_token_ids
from pipeline.tracking import client as tracking
from pipeline.training import collectives, curves
from pipeline.training.loop import LoopParams, train
from pipeline.training.machine_limits import check_memory
from pipeline.training.optim import OptimParams
from pipeline.training.step import Task
from pipeline.utils import files, model_folder, workdir

EVALUATION_BATCH = 64  # images


@dataclass(frozen=True)
class TokenizerDimensions:
    """Size of the tokenizer; the length of the teacher's features comes from the teacher."""

    image_size: Pixels  # pixels
    patch_size: Pixels  # pixels
    depth: Layers  # blocks of the encoder
    decoder_depth: Layers  # blocks
    embed_dim: Width
    num_heads: Width
    codebook_size: Width
    codebook_dim: Width


@dataclass(frozen=True)
class LossWeightParams:
    """Factors of the losses in their sum (BEiTv2: both 1)."""

    cosine: float
    commitment: float


@dataclass(frozen=True)
class VisualTokenizerParams(OptimParams):
    """Block `visual_tokenizer`, whose `loop` starts from the block of that name."""

    origin: Literal["train", "official"]  # official: import BEiTv2's released file, do not train
    official_file: str | None  # the released .pth file
    steps: Count
    seed: int
    dimensions: TokenizerDimensions
    ema_decay: Share  # of the codebook's moving average
    codebook_start_step: int  # training batches before the codebook starts (BEiTv2: 0)
    teacher: TeacherName  # for a released file the one that it was trained with, clip or dino
    teacher_file: str | None  # weights of clip or dino, see `safe_checkpoint`
    sources: dict[str, Passes]  # how often an epoch passes through each source
    order: OrderParams
    views: views.ViewParams
    loss_weights: LossWeightParams
    loop: LoopParams
    evaluation_images: Count  # of each source and split
    num_workers: Processes  # Ray Train workers; 0: in this process
    threads: Threads  # per worker

    def __post_init__(self) -> None:
        block, loop = "params.yaml: visual_tokenizer", self.loop
        if loop.gradient_accumulation != max(self.num_workers, 1) or loop.parallel != "ddp":
            raise UserError(
                f"{block}.loop: the codebook moves once per forward pass, on every worker alike: "
                "gradient_accumulation must be num_workers (1 for 0), and parallel ddp"
            )
        if loop.activation_checkpointing:
            raise UserError(f"{block}.loop: activation_checkpointing: not for the tokenizer")
        if self.origin == "official" and self.teacher not in NETWORKS:
            raise UserError(
                f"{block}.teacher: that of a released file is clip or dino, not {self.teacher}"
            )

    @property
    def used(self) -> list[str]:
        """Sources that an epoch passes through at least once."""
        return [source for source, passes in self.sources.items() if passes]


def load_params(params: Params) -> VisualTokenizerParams:
    """Block `visual_tokenizer` of a file of parameters."""
    return params.load(VisualTokenizerParams, "visual_tokenizer", loop=("loop",))


class VQKDTask(Task):
    """VQ-KD for the training loop."""

    model: VQKD

    def __init__(self, shards: Path, params: VisualTokenizerParams):
        """shards: folder that holds the shards of every source."""
        self.shards, self.params = shards, params
        self.loss_weights: Mapping[str, float] = asdict(params.loss_weights)
        self.teacher = load_teacher(
            params.teacher,
            params.teacher_file,
            params.dimensions.image_size,
            params.dimensions.patch_size,
        )
        check_memory(
            lambda: VQKD(config(params, self.teacher.dim)),
            "params.yaml: visual_tokenizer.dimensions",
        )
        torch.manual_seed(params.seed)  # the only draws from torch's generator
        self.model = VQKD(config(params, self.teacher.dim))

    @cached_property
    def batches(self) -> "VQKDBatches":
        """Training images."""
        return VQKDBatches(self.shards, self.params)

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Sums over patches: cosine distance to the teacher's features, and squared distance of the
        quantizer's inputs from their codebook vectors. The codebook itself has no loss."""
        pixels = images.normalize(batch["pixels"])
        target = self.teacher.to(pixels.device)(pixels)
        decoded = module(pixels)
        distance = 1 - F.cosine_similarity(decoded.features.float(), target, dim=-1)
        commitment = (decoded.inputs - decoded.quantized).square()
        return {"cosine": distance.sum(), "commitment": commitment.sum()}

    def num_targets(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Patches, and elements of their codebook vectors."""
        patches = float(len(batch["pixels"]) * self.model.config.grid**2)
        return {"cosine": patches, "commitment": patches * self.model.config.codebook_dim}

    def evaluate(self) -> dict[str, float]:
        """Mean cosine similarity with the teacher on validation images, and use of the codebook on
        validation and training images."""
        cosines = []
        for pixels in self._images("val"):
            cosines.append(self._cosines(pixels).flatten())
        usage = codebook_usage(self.model, self._images("val", "train"))
        return {"teacher_cosine": torch.cat(cosines).mean().item(), **usage}

    def _cosines(self, pixels: Tensor) -> Tensor:
        """Cosine similarity of every patch with the teacher's features, [batch, patches]."""
        target = self.teacher.to(pixels.device)(pixels)
        return F.cosine_similarity(self.model(pixels).features.float(), target, dim=-1)

    def _images(self, *splits: str) -> Iterator[Tensor]:
        device = next(self.model.parameters()).device
        for pixels in evaluation_images(self.shards, self.params, splits):
            yield pixels.to(device)


class VQKDBatches:
    """Map-style data set: the address of a micro-batch to its images, each in a random view."""

    def __init__(self, shards: Path, params: VisualTokenizerParams):
        self.params = params
        groups: list[tuple[parquet.RowGroup, None]] = []
        for source in params.used:
            for group in parquet.row_groups(shards / source, "train") * params.sources[source]:
                groups.append((group, None))
        self.reader = ImageReader(
            groups,
            cache=2 * params.order.streams * params.order.shuffle_block,
            pairs=False,
        )
        self.sampler = StreamSampler(
            self.reader.group_sizes, params.order, params.seed, "visual_tokenizer"
        )

    def __getitem__(self, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """`pixels` uint8 [batch, size, size, 3]."""
        pixels = []
        for index in self.sampler.samples(micro_batch):
            pixels.append(self._view(index.group, index.offset, index.position))
        return {"pixels": torch.from_numpy(np.stack(pixels))}

    def _view(self, group: int, offset: int, position: int) -> np.ndarray:
        """The image at an offset in a row group, in a view that its position in the order of
        training determines: uint8 [size, size, 3]."""
        row, _ = self.reader.get(group, offset)
        image = images.decode(row.image)
        luma = images.mean_luma(image)
        view = views.draw(self.params.seed, row.key, position, *image.size, luma, self.params.views)
        return views.apply(image, view, self.params.dimensions.image_size)


@dataclass(frozen=True)
class VQKDJob:
    """What every worker needs to train the tokenizer."""

    work_dir: Path
    shards: Path  # folder that holds the shards of every source
    params: VisualTokenizerParams


def run(job: VQKDJob) -> None:
    """Train the tokenizer, or resume its training, in every worker. Worker 0 writes the results to
    `finished` in the work folder."""
    first = collectives.rank() == 0
    with workdir.locked(job.work_dir) if first else nullcontext(), _tracked(job, first) as tracked:
        if job.params.origin == "official":
            _import(job, tracked)
            return
        task = VQKDTask(job.shards, job.params)
        validation = {"evaluation_images": job.params.evaluation_images}
        train(task, job.params, job.params.loop, job.work_dir, tracked, validation)
        if first:
            rows = curves.read_jsonl(job.work_dir / curves.JSONL)
            last = [row for row in rows if row.kind == "validation"][-1]
            _finish(job, tokenizer_of(task.model), last.values, tracked)


def check(shards: Path, params: VisualTokenizerParams) -> None:
    """Raises UserError where data are missing that training or validation will ask for, or sizes do
    not fit each other."""
    size, key = params.dimensions, "params.yaml: visual_tokenizer"
    if size.image_size % size.patch_size or size.embed_dim % size.num_heads:
        raise UserError(
            f"{key}.dimensions: image_size must be a multiple of patch_size, and embed_dim of num_heads"
        )
    if params.origin == "train" and params.teacher == "hog" and size.patch_size % teachers.CELLS:
        raise UserError(
            f"{key}.dimensions.patch_size: {size.patch_size}, but the teacher hog needs a multiple of "
            f"{teachers.CELLS}"
        )
    groups = 0
    for source in params.used:
        require_split(shards / source, "val", f"{key}.sources")
        groups += params.sources[source] * require_split(shards / source, "train", f"{key}.sources")
    if params.origin == "train":
        require_order(groups, params.order, params.loop.gradient_accumulation, f"{key}.order")


def work_params(params: VisualTokenizerParams) -> dict[str, Any]:
    """The parameters that the weights are a function of: without those of validation."""
    tree = asdict(params)
    del tree["evaluation_images"], tree["loop"]["evaluate_every"]
    return tree


def inputs(shards: Path, params: VisualTokenizerParams) -> list[Path]:
    """The files whose content determines all data of a run."""
    paths = [shards / source / "index.json" for source in sorted(params.used)]
    weights = params.official_file if params.origin == "official" else params.teacher_file
    if weights is not None and Path(weights).is_file():
        paths.append(Path(weights))
    return paths


def config(params: VisualTokenizerParams, teacher_dim: int) -> VQKDConfig:
    """The model's configuration; `teacher_dim` is the length of the teacher's features."""
    return VQKDConfig(
        **asdict(params.dimensions),
        teacher_dim=teacher_dim,
        ema_decay=params.ema_decay,
        codebook_start_step=params.codebook_start_step,
    )


def tokenizer_of(model: VQKD) -> VisualTokenizer:
    """A trained model without its decoder."""
    tokenizer, state = VisualTokenizer(model.config), model.state_dict()
    tokenizer.load_state_dict({name: state[name] for name in tokenizer.state_dict()})
    return tokenizer.eval()


def evaluation_images(
    shards: Path, params: VisualTokenizerParams, splits: tuple[str, ...]
) -> Iterator[Tensor]:
    """Batches float [n, 3, size, size] of whole images: the first of each source and split."""
    for split in splits:
        for source in params.used:
            rows = parquet.read_rows(shards / source, split, ("image",))
            rows = islice(rows, params.evaluation_images)
            while batch := list(islice(rows, EVALUATION_BATCH)):
                yield _squares([row["image"] for row in batch], params.dimensions.image_size)


def _squares(encoded: Sequence[bytes], size: int) -> Tensor:
    """Encoded images, resized to squares: float [n, 3, size, size]."""
    pixels = [images.square(images.decode(data), size) for data in encoded]
    return images.normalize(torch.from_numpy(np.stack(pixels)))


def codebook_usage(tokenizer: VisualTokenizer, batches: Iterable[Tensor]) -> dict[str, float]:
    """Which visual tokens occur in batches of images [n, 3, size, size].

    Returns:
        `codebook_usage`: fraction of the visual tokens that occur. `codebook_perplexity`: the
        number of equally frequent tokens with the same entropy.
    """
    size = tokenizer.config.codebook_size
    counts = torch.zeros(size, dtype=torch.int64)
    for pixels in batches:
        token_ids = visual_token_ids(tokenizer, pixels).flatten()
        counts += torch.bincount(token_ids, minlength=size).cpu()
    share = counts[counts > 0].double() / counts.sum()
    return {
        "codebook_usage": (counts > 0).double().mean().item(),
        "codebook_perplexity": torch.exp(-(share * share.log()).sum()).item(),
    }


def _import(job: VQKDJob, tracked: tracking.Run) -> None:
    """Import a released tokenizer. The weights of its teacher are not needed."""
    teacher_dim = NETWORKS[job.params.teacher].dim
    tokenizer = read_official(job.params.official_file, config(job.params, teacher_dim))
    batches = evaluation_images(job.shards, job.params, ("val", "train"))
    _finish(job, tokenizer, codebook_usage(tokenizer, batches), tracked)


def _finish(
    job: VQKDJob, tokenizer: VisualTokenizer, metrics: dict[str, float], tracked: tracking.Run
) -> None:
    """Write the tokenizer, the curve of its training and the metrics for publication."""
    folder = workdir.finished(job.work_dir)
    model_folder.save(tokenizer, folder / "model")
    curves.publish(curves.read_jsonl(job.work_dir / curves.JSONL), folder)
    files.write_json(folder / "metrics.json", metrics)
    tracked.metrics(metrics)
    for source in job.params.used:
        tracked.dataset(job.shards / source, source, "training")
    tracked.model(folder / "model", "visual_tokenizer")


def _tracked(job: VQKDJob, first: bool) -> AbstractContextManager[tracking.Run]:
    if not first:
        return nullcontext(tracking.Run(None))
    return tracking.run(
        "visual tokenizer",
        stage="visual_tokenizer",
        params=asdict(job.params),
        work_dir=job.work_dir,
    )
