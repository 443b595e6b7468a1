"""The variants of pretraining and their parameters: block `pretrain` of params.yaml."""

from dataclasses import dataclass
from typing import Literal

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
from pipeline.errors import UserError
from pipeline.pretraining.data import DataParams
from pipeline.pretraining.evaluate import ValidationParams
from pipeline.pretraining.samples import MaskParams
from pipeline.training.loop import LoopParams
from pipeline.training.optim import OptimParams

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


def image_sources(params: PretrainParams) -> list[str]:
    """The sources of images, alone or in pairs."""
    return sorted({*params.data.images.sources, *params.data.pairs.sources})
