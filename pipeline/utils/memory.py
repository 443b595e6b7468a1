"""Bytes that training takes on a GPU: weights and optimiser, and what forward passes keep for their
backward passes.

The second is a formula over what the layers save. Numbers are `WIDE` (fp32: the residual stream,
the weights) or, under autocast, half of that. Where a block is computed again (activation
checkpointing), only its input is kept, and one block's worth is added once. Left out: biases of
attention by position, and what CUDA, NCCL and the allocator take for themselves.
"""

from dataclasses import dataclass

from torch import nn

from model.backbone.chunked_cross_entropy import CHUNK
from model.backbone.config import BackboneConfig
from model.heads.segmentation import HeadConfig
from model.pretraining.masked_modeling import MaskedModelingConfig
from model.tokenizer.vqkd import FFN_RATIO, VQKDConfig
from pipeline.utils import flops
from pipeline.utils.flops import Conv, Pass

WIDE = 4  # bytes of a number in fp32
LABEL = 8  # bytes of a label
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
    width: int,
    hidden: int,
    tokens: int,
    precision: Precision,
    *,
    copied: int = 0,
    rejoined: int = 0,
    read: float | None = None,
) -> float:
    """What a block keeps of one sequence: its two normed inputs and the normed vectors, queries,
    keys, values, the attention's output, and the feed-forward network's layer before and after
    GELU. Of the last block what comes after attention is kept of what is `read` of it.

    copied, rejoined: vectors that are kept once more, before and after attention, see `recomputed`.
    """
    before = tokens * width * (WIDE + (5 + copied) * precision.narrow)
    rejoined, read = (rejoined, tokens) if read is None else (1, read)
    return before + read * (
        width * (WIDE + (1 + rejoined) * precision.narrow) + 2 * hidden * precision.narrow
    )


def encoder(
    config: BackboneConfig,
    one: Pass,
    precision: Precision,
    *,
    again: bool = False,
    joined: bool = False,
) -> float:
    """What the backbone keeps of one sequence; `joined`: other streams are in the same pass."""
    length, vector = one.tokens(config), WIDE * config.embed_dim
    pixels = precision.narrow * 3 * config.image_size**2 if one.image else 0
    if again:
        kept = config.depth * length * vector
    else:
        full = recomputed(config, one._replace(read=None), precision, joined=joined)
        kept = (config.depth - 1) * full + recomputed(config, one, precision, joined=joined)
    return pixels + kept + (length if one.read is None else one.read) * vector


def recomputed(
    config: BackboneConfig, one: Pass, precision: Precision, *, joined: bool = False
) -> float:
    """What one block keeps of that, or the backward pass makes again where activations are
    checkpointed; where not all is read, the last one.

    Texts and patches are in matrices of their own (`model.backbone.token_layout`): the attention's
    output is copied into these, and before it queries, keys and values of pairs are copied out of
    those that are kept for the other streams.
    """
    pair = one.text > 0 and one.image
    return block(
        config.embed_dim,
        config.mlp_dim,
        one.tokens(config),
        precision,
        copied=3 * int(joined and pair),
        rejoined=int(joined or pair),
        read=one.read,
    )


def hidden(rows: float, config: MaskedModelingConfig, precision: Precision, *, text: bool) -> float:
    """What a prediction head keeps of so many hidden places: the gradient of their vectors, which
    the loss finds in the forward pass, and what the layer of the text head keeps, before and after
    GELU, and normed."""
    layer = 3 if text and config.mlm_head == "transform" else 0
    return rows * precision.narrow * (1 + layer) * config.backbone.embed_dim


def head_gradient(width: int, classes: int) -> float:
    """The gradient of a prediction head's weights, which waits for the backward pass beside the one
    that it goes to."""
    return WIDE * classes * (width + 1)


def chunk(rows: float, classes: int, precision: Precision) -> float:
    """What the loss takes for a moment: a chunk of logits as products give them, and in fp32."""
    return min(rows * classes, CHUNK) * (WIDE + precision.narrow)


def convs(units: list[Conv], precision: Precision) -> float:
    """What a batch norm and a ReLU behind each convolution keep: what goes into the one and out of
    the other."""
    return sum(2 * precision.narrow * unit.outputs * unit.side**2 for unit in units)


def segmentation(config: BackboneConfig, head: HeadConfig, precision: Precision) -> float:
    """What neck and heads keep of one crop, with both losses at the crop's size."""
    narrow, width, channels = precision.narrow, config.embed_dim, head.channels
    fine, middle, coarse, half = (side**2 for side in flops.pyramid_sides(config))
    casts = 3 * coarse if precision.half else 0  # in fp32 the blocks keep these maps themselves
    neck = narrow * width * (casts + 4 * middle + fine + half)
    decode, _ = flops.decode_convs(config, head)
    joined = narrow * (decode[len(head.pool_scales)].inputs * half + decode[-1].inputs * fine)
    added = narrow * channels * (fine + middle + coarse)  # top-down
    auxiliary, _ = flops.auxiliary_convs(config, head)
    classified = narrow * (channels * fine + head.auxiliary_channels * coarse)
    losses = (2 * WIDE * head.classes + LABEL) * config.image_size**2
    return neck + joined + added + classified + convs([*decode, auxiliary], precision) + losses


def visual_tokenizer(config: VQKDConfig, precision: Precision) -> float:
    """What VQ-KD keeps of one picture. Its first task layer is in fp32."""
    length, width, narrow = 1 + config.grid**2, config.embed_dim, precision.narrow
    blocks = config.depth + config.decoder_depth
    task_layers = (
        length * width * (4 * WIDE + 2 * narrow)
    )  # what their norms, themselves and tanh keep
    pixels = narrow * 3 * config.image_size**2
    return pixels + blocks * block(width, FFN_RATIO * width, length, precision) + task_layers


@dataclass(frozen=True)
class Weights:
    """Numbers of a model."""

    trained: int
    frozen: int
    matrices: int  # of the trained: those that autocast turns into half precision for the products
    largest_block: int  # with what is frozen in it
    all_blocks: int

    @classmethod
    def of(cls, model: nn.Module) -> "Weights":
        """Those of a model, which may be on the meta device."""
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        every = sum(p.numel() for p in model.parameters())
        layers = [
            m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
        ]
        matrices = sum(layer.weight.numel() for layer in layers if layer.weight.requires_grad)
        blocks = [
            sum(p.numel() for p in block.parameters())
            for block in getattr(getattr(model, "backbone", model), "blocks", [])
        ]
        return cls(trained, every - trained, matrices, max(blocks, default=0), sum(blocks))


def model(weights: Weights, kind: str, workers: int, precision: Precision) -> float:
    """Weights, gradients, AdamW's moments, and what the parallel form adds: DDP's buckets for
    gradients, or the shards that FSDP2 gathers: two blocks, and all that is in none."""
    halves = precision.narrow * weights.matrices if precision.half else 0
    state = WIDE * (weights.trained * (2 + MOMENTS) + weights.frozen)
    if workers <= 1:
        return state + halves
    if kind == "ddp":
        return state + WIDE * weights.trained + halves
    apart = (
        weights.trained + weights.frozen - weights.all_blocks
    )  # embeddings and heads, gathered for a step
    return state / workers + halves + WIDE * (apart + 2 * weights.largest_block)
