"""FLOPs of forward passes, from configurations alone; needs nothing but `model`.

Two FLOPs per multiply-add of the matrix products and convolutions. Norms, softmax, activations,
resizing and look-ups are left out: together they are below 1% at the base size. Prediction heads
are counted on hidden places only, and so is the last block behind its attention: where the model
computes them. A training step is `TRAINING` times its forward pass; what is computed twice
(activation checkpointing, features cached for ITC) is not in it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from model.backbone.config import BackboneConfig
from model.heads.segmentation import AUXILIARY_LEVEL, LEVELS, HeadConfig
from model.pretraining.masked_modeling import MaskedModelingConfig
from model.tokenizer.vqkd import FFN_RATIO, VQKDConfig

TRAINING = 3  # forward, and a backward that is twice as much: gradients of inputs and of weights
FUSION_PASSES = 3  # ITM: the true pair and two hard negatives


class Pass(NamedTuple):
    """A text, a picture or a pair on its way through the backbone."""

    text: int = 0  # tokens
    image: bool = False  # whether there is one
    read: float | None = None  # vectors of the last block that somebody reads; None: all

    def tokens(self, config: BackboneConfig) -> int:
        """Length of the sequence."""
        return self.text + (1 + config.patches if self.image else 0)


def linear(rows: float, *sizes: int) -> float:
    """Dense layers one after the other, `sizes[0]` to `sizes[1]` and so on, for `rows` vectors."""
    return sum(2.0 * rows * one * other for one, other in zip(sizes, sizes[1:], strict=False))


def block(width: int, hidden: int, tokens: int, read: float | None = None) -> float:
    """A Transformer block: queries, keys and values; scores and their use; then, of what is `read`
    of it (None: all), output and feed-forward network."""
    read = tokens if read is None else read
    attention = (
        linear(tokens, width, 3 * width) + 4.0 * tokens**2 * width + linear(read, width, width)
    )
    return attention + linear(read, width, hidden, width)


def encoder(config: BackboneConfig, one: Pass) -> float:
    """The backbone on a sequence."""
    patches = (
        linear(config.patches, 3 * config.patch_size**2, config.embed_dim) if one.image else 0.0
    )
    return patches + blocks(config, one)


def blocks(config: BackboneConfig, one: Pass) -> float:
    """The same without the projection of patches: what activation checkpointing computes again."""
    sizes = config.embed_dim, config.mlp_dim, one.tokens(config)
    return (config.depth - 1) * block(*sizes) + block(*sizes, one.read)


def text_head(config: MaskedModelingConfig, hidden: float) -> float:
    """Logits of text ids at hidden places."""
    width = config.backbone.embed_dim
    layer = linear(hidden, width, width) if config.mlm_head == "transform" else 0.0
    return layer + linear(hidden, width, config.backbone.vocab_size)


def image_head(config: MaskedModelingConfig, hidden: float) -> float:
    """Logits of codes at hidden patches."""
    return linear(hidden, config.backbone.embed_dim, config.codebook_size)


def mlm(config: MaskedModelingConfig, text: int, hidden: float) -> float:
    """Masked language modelling on one text, `hidden` of whose tokens are hidden."""
    return encoder(config.backbone, Pass(text, read=hidden)) + text_head(config, hidden)


def mim(config: MaskedModelingConfig, hidden: float) -> float:
    """Masked image modelling on one picture."""
    return encoder(config.backbone, Pass(image=True, read=hidden)) + image_head(config, hidden)


def mvlm(
    config: MaskedModelingConfig, text: int, tokens_hidden: float, patches_hidden: float
) -> float:
    """Masked vision-language modelling on one pair, in one pass or in two."""
    heads = text_head(config, tokens_hidden) + image_head(config, patches_hidden)
    passes = mvlm_passes(config, text, tokens_hidden, patches_hidden)
    return sum(encoder(config.backbone, one) for one in passes) + heads


def mvlm_passes(
    config: MaskedModelingConfig, text: int, tokens_hidden: float, patches_hidden: float
) -> list[Pass]:
    """Of a pair: one in which both halves are hidden, or one for each half."""
    joint = config.mvlm_mode == "joint"
    return [
        Pass(text, image=True, read=read)
        for read in ([tokens_hidden + patches_hidden] if joint else [tokens_hidden, patches_hidden])
    ]


def apart(text: int) -> tuple[Pass, Pass]:
    """A picture and a text, of which the class vectors are read."""
    return Pass(image=True, read=1), Pass(text, read=1)


def fused(text: int) -> Pass:
    """A pair of which [T_CLS] is read, and [I_CLS] computed beside it."""
    return Pass(text, image=True, read=2)


def vqa(config: BackboneConfig, text: int, answers: int) -> float:
    """One question about one picture."""
    return encoder(config, fused(text)) + linear(
        1, config.embed_dim, config.embed_dim, 2 * config.embed_dim, answers
    )


def nlvr2(config: BackboneConfig, text: int) -> float:
    """One statement about two pictures."""
    width = config.embed_dim
    return 2 * (encoder(config, fused(text)) + linear(1, width, width)) + linear(
        1, 2 * width, 2 * width, 2
    )


def dual(config: BackboneConfig, text: int) -> tuple[float, float]:
    """A picture and a caption through the dual encoder."""
    projection = linear(1, config.embed_dim, config.embed_dim)
    picture, caption = (encoder(config, one) + projection for one in apart(text))
    return picture, caption


def match(config: BackboneConfig, text: int) -> float:
    """A pair through the fusion encoder: one of ITM's passes, or of reranking."""
    return encoder(config, fused(text)) + linear(1, config.embed_dim, config.embed_dim, 2)


def retrieval(config: BackboneConfig, text: int, batch: int) -> float:
    """One pair of a global batch: ITC against all of it, and ITM."""
    similarities = 2 * linear(1, config.embed_dim, batch)
    return sum(dual(config, text)) + similarities + FUSION_PASSES * match(config, text)


def classification(config: BackboneConfig, classes: int) -> float:
    """One picture."""
    return encoder(config, Pass(image=True)) + linear(1, config.embed_dim, classes)


class Conv(NamedTuple):
    """A convolution that keeps the size of a square map."""

    inputs: int
    outputs: int
    kernel: int
    side: int  # of the map

    @property
    def flops(self) -> float:
        return linear(self.side**2, self.inputs * self.kernel**2, self.outputs)


def decode_convs(config: BackboneConfig, head: HeadConfig) -> tuple[list[Conv], Conv]:
    """UPerNet's convolutions with a batch norm behind them, and its classifier."""
    width, channels, sides = config.embed_dim, head.channels, pyramid_sides(config)
    pooled = [Conv(width, channels, 1, scale) for scale in head.pool_scales]
    bottleneck = Conv(width + len(pooled) * channels, channels, 3, sides[-1])
    lateral = [Conv(width, channels, 1, side) for side in sides[:-1]]
    smooth = [Conv(channels, channels, 3, side) for side in sides[:-1]]
    fuse = Conv(LEVELS * channels, channels, 3, sides[0])
    return [*pooled, bottleneck, *lateral, *smooth, fuse], Conv(channels, head.classes, 1, sides[0])


def auxiliary_convs(config: BackboneConfig, head: HeadConfig) -> tuple[Conv, Conv]:
    """The auxiliary head's convolution and its classifier."""
    side = pyramid_sides(config)[AUXILIARY_LEVEL]
    return (
        Conv(config.embed_dim, head.auxiliary_channels, 3, side),
        Conv(head.auxiliary_channels, head.classes, 1, side),
    )


def pyramid_sides(config: BackboneConfig) -> Sequence[int]:
    """Sides of the neck's maps, the finest first."""
    return 4 * config.grid, 2 * config.grid, config.grid, config.grid // 2


def decoded(config: BackboneConfig, head: HeadConfig) -> float:
    """A window with UPerNet on it, as at test time."""
    neck = sum(
        linear(grid**2, config.embed_dim, 4 * config.embed_dim)
        for grid in (config.grid, 2 * config.grid, config.grid)
    )
    convs, classify = decode_convs(config, head)
    return (
        encoder(config, Pass(image=True))
        + neck
        + sum(conv.flops for conv in convs)
        + classify.flops
    )


def segmentation(config: BackboneConfig, head: HeadConfig) -> float:
    """A crop through both heads."""
    return decoded(config, head) + sum(conv.flops for conv in auxiliary_convs(config, head))


def visual_tokens(config: VQKDConfig) -> float:
    """Ids of one picture: encoder, task layer, and the distances to all codes."""
    patches, width = config.grid**2, config.embed_dim
    pixels = linear(patches, 3 * config.patch_size**2, width)
    task_layer = linear(patches, width, width, config.codebook_dim)
    return (
        pixels
        + _vit(config, config.depth)
        + task_layer
        + linear(patches, config.codebook_dim, config.codebook_size)
    )


def visual_tokenizer(config: VQKDConfig) -> float:
    """One picture through VQ-KD as it is trained, without the teacher."""
    patches, width = config.grid**2, config.embed_dim
    task_layer = linear(patches, width, width, config.teacher_dim)
    decoder = linear(patches, config.codebook_dim, width) + _vit(config, config.decoder_depth)
    return visual_tokens(config) + decoder + task_layer


def _vit(config: VQKDConfig, depth: int) -> float:
    return depth * block(config.embed_dim, FFN_RATIO * config.embed_dim, 1 + config.grid**2)
