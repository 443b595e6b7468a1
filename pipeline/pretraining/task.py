"""Pretraining: masked modeling on texts, images and pairs in one optimizer step (VL-BEiT §2.3,
§3.1)."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model import checkpoint
from model.backbone.config import BackboneConfig
from model.backbone.vl_beit import VLBeit
from model.meta import on_meta
from model.pretraining.batches import ImageBatch, PretrainingBatch
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from pipeline.data.transforms import images
from pipeline.data.transforms.views import ViewParams
from pipeline.errors import UserError
from pipeline.pretraining.data import (
    DataFolders,
    PretrainingBatches,
    map_images,
    normalize_images,
)
from pipeline.pretraining.evaluate import measure
from pipeline.pretraining.samples import SampleBuilder, SampleParams
from pipeline.pretraining.variants import INPUT_OF, STREAM_OF, PretrainParams, image_sources
from pipeline.tokenizers import text
from pipeline.tokenizers.text import TextTokenizer
from pipeline.training.curve_logger import log
from pipeline.training.machine_limits import check_memory
from pipeline.training.step import Task
from pipeline.utils import files, model_folder


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
    for source in image_sources(params):
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
