"""Bytes that training takes on a GPU: weights and optimizer, and what forward passes keep for their
backward passes.

The second is a formula over what the layers save. Numbers are `WIDE` (fp32: the residual stream,
the weights) or, under autocast, half of that. Where a block is computed again (activation
checkpointing), only its input is kept, and one block's worth is added once. Left out: biases of
attention by position that a whole batch shares, and what CUDA, NCCL and the allocator take for
themselves.
"""

from dataclasses import dataclass

from torch import nn

from model.backbone.chunked_cross_entropy import CHUNK
from model.backbone.config import BackboneConfig
from model.pretraining.masked_modeling import MaskedModelingConfig
from model.tokenizer.vqkd import FFN_RATIO, VQKDConfig
from pipeline.utils.flops import Conv, Pass

WIDE = 4  # bytes of a number in fp32
MOMENTS = 2  # of AdamW, beside a weight and its gradient


@dataclass(frozen=True)
class Precision:
    """What autocast makes of the products' inputs and outputs."""

    half: bool

    @property
    def narrow(self) -> int:
        """Bytes of such a number."""
        return WIDE // 2 if self.half else WIDE


def block(
    embed_dim: int,
    mlp_dim: int,
    tokens: int,
    precision: Precision,
    *,
    copied: int = 0,
    rejoined: int = 0,
    inner_norms: bool = False,
    read: float | None = None,
) -> float:
    """What a block keeps of one sequence: its two normed inputs and the normed vectors, queries,
    keys, values, the attention's output, and the feed-forward network's layer before and after
    GELU. Of the last block what comes after attention is kept of what is `read` of it.

    copied, rejoined: vectors that are kept once more, before and after attention, see `recomputed`.
    inner_norms: the attention's output and what GELU gives are normed, and kept once more.
    """
    before = tokens * embed_dim * (WIDE + (5 + copied) * precision.narrow)
    rejoined, read = (rejoined, tokens) if read is None else (1, read)
    vectors, hidden = (2 + rejoined, 3) if inner_norms else (1 + rejoined, 2)
    return before + read * (
        embed_dim * (WIDE + vectors * precision.narrow) + hidden * mlp_dim * precision.narrow
    )


def encoder(
    config: BackboneConfig,
    sequence: Pass,
    precision: Precision,
    *,
    again: bool = False,
    joined: bool = False,
) -> float:
    """What the backbone keeps of one sequence.

    again: blocks are computed again for the backward pass (activation checkpointing).
    joined: other inputs are in the same pass.
    """
    length, vector = sequence.tokens(config), WIDE * config.embed_dim
    pixels = precision.narrow * 3 * config.image_size**2 if sequence.image else 0
    # autocast makes each block a copy of those that all share
    copies = config.depth if (config.bias_per_block or precision.half) and not again else 1
    biased = copies * biases(config, sequence, precision.narrow)
    if again:
        blocks: float = config.depth * length * vector
    else:
        full = recomputed(config, sequence._replace(read=None), precision, joined=joined)
        last = recomputed(config, sequence, precision, joined=joined)
        blocks = (config.depth - 1) * full + last
    return pixels + blocks + biased + (length if sequence.read is None else sequence.read) * vector


def forward(config: BackboneConfig, sequence: Pass, precision: Precision) -> float:
    """What one sequence takes where nothing is kept for a backward pass: its pixels in fp32, and
    what one block makes of it."""
    pixels = WIDE * 3 * config.image_size**2 if sequence.image else 0
    block_bytes = recomputed(config, sequence._replace(read=None), precision)
    return pixels + block_bytes + biases(config, sequence, WIDE)


def biases(config: BackboneConfig, sequence: Pass, number: int) -> float:
    """What one block's biases of attention by position take of a pair, at `number` bytes each: its
    padding makes them its own. Images alone share theirs, and texts alone are short."""
    is_own = config.relative_bias and sequence.text > 0 and sequence.image
    return number * config.num_heads * sequence.tokens(config) ** 2 if is_own else 0


def recomputed(
    config: BackboneConfig, sequence: Pass, precision: Precision, *, joined: bool = False
) -> float:
    """What one block keeps of that, or the backward pass makes again where activations are
    checkpointed; where not all is read, the last one.

    Texts and patches are in matrices of their own (`model.backbone.token_layout`): the attention's
    output is copied into these, and before it queries, keys and values of pairs are copied out of
    those that are kept for the other inputs.
    """
    pair = sequence.text > 0 and sequence.image
    return block(
        config.embed_dim,
        config.mlp_dim,
        sequence.tokens(config),
        precision,
        copied=3 * int(joined and pair),
        rejoined=int(joined or pair),
        inner_norms=config.experts == "multiway",
        read=sequence.read,
    )


def prediction_head(
    positions: float, config: MaskedModelingConfig, precision: Precision, *, text: bool
) -> float:
    """What a prediction head keeps of so many masked positions: the gradient of their vectors,
    which the loss finds in the forward pass, and what the layer of the text head keeps, before and
    after GELU, and normed."""
    layer = 3 if text and config.mlm_head == "transform" else 0
    return positions * precision.narrow * (1 + layer) * config.backbone.embed_dim


def head_gradient(embed_dim: int, classes: int) -> float:
    """The gradient of a prediction head's weights, which waits for the backward pass beside the one
    that it goes to."""
    return WIDE * classes * (embed_dim + 1)


def chunk(rows: float, classes: int, precision: Precision) -> float:
    """What the loss takes for a moment: a chunk of logits as products give them, and in fp32."""
    return min(rows * classes, CHUNK) * (WIDE + precision.narrow)


def convs(units: list[Conv], precision: Precision) -> float:
    """What a batch norm and a ReLU behind each convolution keep: what goes into the one and out of
    the other."""
    return sum(2 * precision.narrow * unit.outputs * unit.side**2 for unit in units)


def visual_tokenizer(config: VQKDConfig, precision: Precision) -> float:
    """What VQ-KD keeps of one image. Its first task layer is in fp32."""
    length, embed_dim, narrow = 1 + config.grid**2, config.embed_dim, precision.narrow
    blocks = config.depth + config.decoder_depth
    # What their norms, the layers themselves and tanh keep.
    task_layers = length * embed_dim * (4 * WIDE + 2 * narrow)
    pixels = narrow * 3 * config.image_size**2
    return (
        pixels + blocks * block(embed_dim, FFN_RATIO * embed_dim, length, precision) + task_layers
    )


@dataclass(frozen=True)
class ParameterCounts:
    """How many parameters a model has."""

    trained: int
    frozen: int
    matrices: int  # of the trained: those that autocast turns into half precision for the products
    largest_block: int  # with what is frozen in it
    all_blocks: int

    @classmethod
    def of(cls, model: nn.Module) -> "ParameterCounts":
        """Those of a model, which may be on the meta device."""
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        matrices = 0
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                matrices += module.weight.numel() if module.weight.requires_grad else 0
        backbone = getattr(model, "backbone", model)
        blocks = [_count(block) for block in getattr(backbone, "blocks", [])]
        frozen = _count(model) - trained
        return cls(trained, frozen, matrices, max(blocks, default=0), sum(blocks))


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def model(counts: ParameterCounts, kind: str, workers: int, precision: Precision) -> float:
    """Weights, gradients, AdamW's moments, and what the parallel form adds: DDP's buckets for
    gradients, or the shards that FSDP2 gathers: two blocks, and all that is in none."""
    halves = precision.narrow * counts.matrices if precision.half else 0
    state = WIDE * (counts.trained * (2 + MOMENTS) + counts.frozen)
    if workers <= 1:
        return state + halves
    if kind == "ddp":
        return state + WIDE * counts.trained + halves
    outside = counts.trained + counts.frozen - counts.all_blocks  # embeddings, heads: for a step
    return state / workers + halves + WIDE * (outside + 2 * counts.largest_block)
