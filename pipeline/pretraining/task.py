"""Pretraining: masked modeling on texts, images and pairs in one optimizer step (VL-BEiT §2.3,
§3.1)."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from model import checkpoint
from model.backbone.config import BackboneConfig
from model.backbone.vl_beit import VLBeit
from model.meta import on_meta
from model.pretraining.batches import ImageBatch, PretrainingBatch
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from model.pretraining.mlm_head import Form
from pipeline.config.limits import (
    Layers,
    Pixels,
    Positive,
    Processes,
    RunName,
    ShareBelowOne,
    TextLength,
    Threads,
    Width,
)
from pipeline.config.params import Params
from pipeline.data.transforms import images
from pipeline.data.transforms.views import ViewParams
from pipeline.errors import UserError
from pipeline.pretraining import visualize
from pipeline.pretraining.data import (
    DataFolders,
    DataParams,
    PretrainingBatches,
    map_images,
    normalize_images,
)
from pipeline.pretraining.evaluate import ValidationParams, measure
from pipeline.pretraining.samples import MaskParams, SampleBuilder, SampleParams
from pipeline.tokenizers import text
from pipeline.tokenizers.text import TextTokenizer
from pipeline.tracking import client as tracking
from pipeline.training import collectives, curves
from pipeline.training.artifacts import finish
from pipeline.training.curve_logger import log
from pipeline.training.curves import CurveRow
from pipeline.training.loop import LoopParams, evaluate, train
from pipeline.training.machine_limits import check_memory
from pipeline.training.optim import OptimParams
from pipeline.training.step import Task
from pipeline.utils import files, model_folder, workdir

STREAM_OF = {"mlm": "texts", "mim": "images", "mvlm": "pairs"}
INPUT_OF = {"mlm": "text", "mim": "image", "mvlm": "pair"}


@dataclass(frozen=True)
class Dimensions:
    """Size of the backbone; its vocabularies come from the tokenizers."""

    image_size: Pixels  # pixels
    patch_size: Pixels  # pixels
    depth: Layers
    embed_dim: Width
    num_heads: Width
    mlp_dim: Width
    init_std: Positive  # of the truncated normal; BEiT: 0.02
    drop_path: ShareBelowOne
    text_length: TextLength  # rows of the text position table, the longest text of any stage
    caption_length: TextLength  # longest caption, special ids included


@dataclass(frozen=True)
class ArchitectureParams:
    """What ablations vary (Table 5) and what the paper leaves open, by name."""

    experts: Literal["mome", "standard"]  # a feed-forward network per modality, or one for all
    # both halves of a pair masked in one pass, or each in a pass of its own
    mvlm_mode: Literal["joint", "separate"]
    mlm_head: Form
    # stored views with their tokens, or new views in every step
    visual_tokens: Literal["precomputed", "online"]
    layer_scale: float  # initial factor on the residual branches; 0: none
    relative_bias: bool  # of attention
    bias_per_block: bool  # each block has tables of its own
    absolute_positions: bool  # vectors of positions; false: none
    word_norm: bool  # a norm after the words' vectors
    token_types: bool  # a vector added to all of a modality
    # first block, from 0, with an expert of its own for pairs; null: none
    vl_ffn_start_layer: int | None


@dataclass(frozen=True)
class LossWeightParams:
    """Weights of the losses in the sum; the paper names none."""

    mlm: float
    mim: float
    mvlm_text: float
    mvlm_image: float


@dataclass(frozen=True)
class PretrainParams(OptimParams):
    """Blocks `pretrain.common`, that of the variant's schedule, and that of the variant: what an
    ablation changes (Tables 4 and 5), and on what it runs, which together with the precision fixes
    the bytes of the result. `loop` starts from the block of that name."""

    seed: int
    dimensions: Dimensions
    architecture: ArchitectureParams
    data: DataParams
    masks: MaskParams
    loss_weights: LossWeightParams
    loop: LoopParams
    validation: ValidationParams
    budget: str
    objectives: list[Literal["mlm", "mim", "mvlm"]]  # empty: the initial weights
    num_workers: Processes  # Ray Train workers; 0: in this process
    threads: Threads  # per worker
    # folder in runs/SCALE of the model whose weights it starts from, all or those of images alone;
    # null: from scratch, as in the paper
    init: RunName | None = None


def names(params: Params) -> list[str]:
    """Names of all pretrainings: the variants, and those that start from other models."""
    return [*params.subtree("pretrain.variants"), *params.subtree("pretrain.warm_starts")]


def is_warm(params: Params, variant: str) -> bool:
    """Whether a pretraining starts from another model, so that DVC's stage is `pretrain_from`."""
    return variant in params.subtree("pretrain.warm_starts")


def load_params(params: Params, variant: str) -> PretrainParams:
    """The parameters of a pretraining variant in a file of parameters.

    Raises:
        UserError: there is no such variant, or a key is wrong.
    """
    if variant not in (known := names(params)):
        raise UserError(f"{params.file}: no variant {variant!r}; one of {', '.join(known)}")
    if known.count(variant) > 1:
        raise UserError(f"{params.file}: pretrain.warm_starts.{variant}: a variant has this name")
    block = f"pretrain.{'warm_starts' if is_warm(params, variant) else 'variants'}.{variant}"
    budget = f"pretrain.budgets.{params.subtree(f'{block}.budget')}"
    return params.load(PretrainParams, "pretrain.common", budget, block, loop=("loop",))


class PretrainingTask(Task):
    """Pretraining as the loop trains it.

    Args:
        view_params: how views are drawn for online tokens, by stream; None where visual tokens are
            precomputed.
        init: folder of the model whose weights it starts from; None: from scratch.
    """

    model: MaskedModeling

    def __init__(
        self,
        folders: DataFolders,
        params: PretrainParams,
        view_params: Mapping[str, ViewParams] | None,
        init: Path | None = None,
    ):
        self.view_params = view_params
        self.folders, self.params = folders, params
        self.loss_weights: Mapping[str, float] = asdict(params.loss_weights)
        self.tokenizer = TextTokenizer.load(folders.text_tokenizer)
        self.builder = SampleBuilder(_sample_params(params), self.tokenizer)
        codebook_size = _codebook_size(folders, params)
        check_memory(
            lambda: build(params, self.tokenizer.vocab_size, codebook_size),
            "params.yaml: pretrain.common.dimensions",
        )
        self.model = build(params, self.tokenizer.vocab_size, codebook_size)
        if init is not None:
            _start_from(self.model, init, folders.text_tokenizer)
        self.visual_tokenizer: Any = None
        if view_params is not None:
            loaded = model_folder.load(folders.visual_tokenizer, "run the stage visual_tokenizer")
            self.visual_tokenizer = loaded.requires_grad_(False)

    @cached_property
    def batches(self) -> PretrainingBatches:
        """Training data of the variant's streams."""
        names = [STREAM_OF[objective] for objective in self.params.objectives]
        builder = SampleBuilder(self.builder.params, self.tokenizer, self.view_params)
        return PretrainingBatches(self.folders, self.params.data, builder, names)

    def prepare(self, module: nn.Module, batches: list[PretrainingBatch]) -> list[PretrainingBatch]:
        """With online tokens, add the visual tokens of the images as the model will see them."""
        return [map_images(batch, self._with_targets) for batch in batches]

    def _with_targets(self, batch: ImageBatch) -> ImageBatch:
        if batch.targets is not None:
            return batch
        pixels = images.normalize(batch.pixels)
        tokens = self.visual_tokenizer.to(pixels.device).token_ids(pixels)  # [batch, patches]
        return batch._replace(targets=tokens.flatten()[batch.masked_positions])

    def loss(self, module: nn.Module, batch: PretrainingBatch) -> dict[str, Tensor]:
        """Losses of a micro-batch, all streams in one forward pass of the wrapped module."""
        return module(map_images(batch, normalize_images))

    def num_targets(self, batch: PretrainingBatch) -> dict[str, float]:
        """Numbers of masked tokens and patches."""
        counts = {}
        if batch.texts is not None:
            counts["mlm"] = float(len(batch.texts.masked_positions))
        if batch.images is not None:
            counts["mim"] = float(len(batch.images.masked_positions))
        if batch.pairs is not None:
            counts["mvlm_text"] = float(len(batch.pairs.text.masked_positions))
            counts["mvlm_image"] = float(len(batch.pairs.image.masked_positions))
        return counts

    def evaluate(self) -> dict[str, float]:
        """Validation losses and accuracies."""
        return measure(
            self.model, self.folders, self.params.data, self.builder, self.params.validation
        )


def build(params: PretrainParams, vocab_size: int, codebook_size: int) -> MaskedModeling:
    """The initial model, a function of the seed."""
    size, architecture = params.dimensions, params.architecture
    first_expert = architecture.vl_ffn_start_layer if architecture.experts == "mome" else None
    backbone = BackboneConfig(
        image_size=size.image_size,
        patch_size=size.patch_size,
        depth=size.depth,
        embed_dim=size.embed_dim,
        num_heads=size.num_heads,
        mlp_dim=size.mlp_dim,
        vocab_size=vocab_size,
        text_length=size.text_length,
        experts=architecture.experts,
        init_std=size.init_std,
        drop_path=size.drop_path,
        layer_scale=architecture.layer_scale,
        relative_bias=architecture.relative_bias,
        bias_per_block=architecture.bias_per_block,
        absolute_positions=architecture.absolute_positions,
        word_norm=architecture.word_norm,
        token_types=architecture.token_types,
        vl_ffn_start_layer=first_expert,
    )
    torch.manual_seed(params.seed)  # the only use of torch's generator in this stage
    config = MaskedModelingConfig(
        backbone, codebook_size, architecture.mlm_head, architecture.mvlm_mode
    )
    model = MaskedModeling(config)
    model.backbone.freeze_unreached({INPUT_OF[objective] for objective in params.objectives})
    return model


def _start_from(model: MaskedModeling, folder: Path, tokenizer: Path) -> None:
    """Take over the weights of a model; what only texts and masks use stays as drawn where it has
    none, as a BEiT.

    Raises:
        UserError: there is no model, its texts are read with another file than `tokenizer`, or its
            architecture is another one.
    """
    backbone = model.backbone
    try:
        _check_alike(backbone.config, checkpoint.read_backbone_config(folder / checkpoint.CONFIG))
        _check_tokenizer(folder, tokenizer)
        of_images = on_meta(lambda: VLBeit(backbone.config, text=False)).state_dict()
        fresh = backbone.state_dict().keys() - of_images.keys()
        report = checkpoint.load_backbone(backbone, folder, fresh=fresh)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not found; run the stage that makes it") from None
    except ValueError as error:
        raise UserError(
            f"{error}; see pretrain.*.dimensions and architecture, such as relative_bias and layer_scale"
        ) from None
    log(f"weights from {folder}: {report}")


def _check_alike(ours: BackboneConfig, theirs: BackboneConfig) -> None:
    """Raises ValueError where values differ that no tensor shows."""
    for name in ("num_heads", "norm_eps"):
        expected, found = getattr(ours, name), getattr(theirs, name)
        if expected != found:
            raise ValueError(f"init: a model of {name} {found}, but it is to have {expected}")


def _check_tokenizer(folder: Path, tokenizer: Path) -> None:
    """Raises UserError where the words of a model are those of another tokenizer."""
    theirs = text.in_folder(folder)
    if theirs is not None and files.sha256(theirs) != files.sha256(tokenizer):
        raise UserError(
            f"{tokenizer}: not the tokenizer of the model to start from, {theirs}; see "
            "text_tokenizer.origin and file"
        )


@dataclass(frozen=True)
class PretrainJob:
    """A variant to pretrain, as it is sent to the workers."""

    name: str
    work_dir: Path
    folders: DataFolders
    params: PretrainParams
    view_params: dict[str, ViewParams] | None  # for online tokens
    init: Path | None = None  # folder of the model to start from


def run(job: PretrainJob) -> None:
    """Train a variant, or resume it, in every worker. Worker 0 leaves the results in the work
    folder."""
    first = collectives.rank() == 0
    task = PretrainingTask(job.folders, job.params, job.view_params, job.init)
    with workdir.locked(job.work_dir) if first else nullcontext(), _tracked(job, first) as tracked:
        if first:  # the others would compute checksums for nobody
            track_inputs(tracked, job.folders, job.params, job.init)
        if job.params.objectives:
            validation = asdict(job.params.validation)
            train(task, job.params, job.params.loop, job.work_dir, tracked, validation)
        else:
            rows = [CurveRow(0, "validation", evaluate(task))]
            curves.write_jsonl(job.work_dir / curves.JSONL, rows)
        if first:
            finished = _finish(task, job)
            tracked.model(finished / "model", f"pretrain/{job.name}")
            tracked.artifact(finished / "curves.png")
            tracked.artifact(finished / "masked.png")
            tracked.artifact(finished / "validation.json")


def work_params(params: PretrainParams) -> dict[str, Any]:
    """The parameters that the weights are a function of: without those of validation."""
    tree = asdict(params)
    del tree["validation"], tree["loop"]["evaluate_every"]
    return tree


def inputs(folders: DataFolders, params: PretrainParams, init: Path | None = None) -> list[Path]:
    """The files that stand for all data of a run: indices with checksums, the text tokenizer, and
    the weights in `init`, a folder, that it starts from."""
    paths = [folders.text_tokenizer]
    if init is not None:
        paths += [init / checkpoint.CONFIG, init / checkpoint.WEIGHTS]
    if params.architecture.visual_tokens == "online":
        paths.append(folders.visual_tokenizer / "model.safetensors")
    for source in sorted(params.data.texts.sources):
        paths.append(folders.text_tokens / source / "index.json")
    for source in _image_sources(params):
        paths.append(folders.shards / source / "index.json")
        paths.append(folders.visual_tokens / source / "index.json")
    return paths


def _image_sources(params: PretrainParams) -> list[str]:
    """The sources of images, alone or in pairs."""
    return sorted({*params.data.images.sources, *params.data.pairs.sources})


def _finish(task: PretrainingTask, job: PretrainJob) -> Path:
    """Write the model, its curves, the last validation metrics and examples into a folder."""
    folder, rows = finish(task.model, job.work_dir, f"pretraining: {job.name}")
    text.put_into(folder / "model", job.folders.text_tokenizer)
    validation = [row.values for row in rows if row.kind == "validation"]
    files.write_json(folder / "validation.json", validation[-1])
    task.model.eval()
    sources = {"images": job.params.validation.images, "pairs": job.params.validation.pairs}
    visualize.draw(
        task.model, job.folders, job.params.data, task.builder, sources, folder / "masked.png"
    )
    return folder


def run_name(variant: str) -> str:
    """What MLflow calls the run of a pretraining."""
    return "pretrain" if variant == "main" else f"pretrain {variant}"


def _tracked(job: PretrainJob, first: bool) -> AbstractContextManager[tracking.Run]:
    if not first:
        return nullcontext(tracking.Run(None))
    return tracking.run(
        run_name(job.name),
        stage="pretrain",
        variant=job.name,
        params=asdict(job.params),
        work_dir=job.work_dir,
    )


def track_inputs(
    tracked: tracking.Run, folders: DataFolders, params: PretrainParams, init: Path | None
) -> None:
    """Record the data of a variant's streams, and what made its tokenizers and, in the folder
    `init`, its first weights."""
    for objective in params.objectives:
        stream = STREAM_OF[objective]
        root = folders.text_tokens if stream == "texts" else folders.shards
        for source, passes in getattr(params.data, stream).sources.items():
            if passes:
                tracked.dataset(root / source, source, "training")
    visual_tokenizer = folders.visual_tokenizer / checkpoint.WEIGHTS
    tracked.started_from("tokenizer.text", folders.text_tokenizer, "text_tokenizer")
    tracked.started_from("tokenizer.visual", visual_tokenizer, "visual_tokenizer")
    if init is not None and params.init is not None:
        tracked.started_from("init", init / checkpoint.WEIGHTS, params.init)


def _sample_params(params: PretrainParams) -> SampleParams:
    size = params.dimensions
    return SampleParams(
        seed=params.seed,
        image_size=size.image_size,
        patch_size=size.patch_size,
        depth=size.depth,
        text_length=size.caption_length,
        masks=params.masks,
    )


def _codebook_size(folders: DataFolders, params: PretrainParams) -> int:
    """Size of the visual vocabulary, the same in the visual tokens of all sources.

    Raises:
        UserError: it is not, or the tokens belong to images of another size.
    """
    sizes = {}
    for source in _image_sources(params):
        index = files.read_json(folders.visual_tokens / source / "index.json")
        sizes[source] = index["codebook_size"]
        if (
            index["image_size"] != params.dimensions.image_size
            or index["patch_size"] != params.dimensions.patch_size
        ):
            raise UserError(
                f"pretrain.common.dimensions: images of {params.dimensions.image_size} px in patches of "
                f"{params.dimensions.patch_size}, but the visual tokens of {source} belong to "
                f"{index['image_size']} px and {index['patch_size']}"
            )
    if len(set(sizes.values())) != 1:
        raise UserError(
            f"visual tokens of different vocabularies: {sizes}; run the visual_tokens stage again"
        )
    return next(iter(sizes.values()))
