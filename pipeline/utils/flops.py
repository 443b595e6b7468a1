"""FLOPs of forward passes, from configurations alone; needs nothing but `model`. Those of a
downstream task stand in its `cost.py`.

Two FLOPs per multiply-add of the matrix products and convolutions. Norms, softmax, activations,
resizing and look-ups are left out: together they are below 1% at the base size. Prediction heads
are counted at masked positions only, and so is the last block behind its attention: where the model
computes them. A training step is `TRAINING` times its forward pass; what is computed twice
(activation checkpointing, features cached for ITC) is not in it.

Formulas, not torch's counter on meta tensors: the counts are equal (tests), but the counter needs
inputs of every task, takes `make plan` some 2 s more, and tells nothing of memory.
"""

from itertools import pairwise
from typing import NamedTuple

from model.backbone.config import BackboneConfig
from model.pretraining.masked_modeling import MaskedModelingConfig
from model.tokenizer.vqkd import FFN_RATIO, VQKDConfig

TRAINING = 3  # forward, and a backward that is twice as much: gradients of inputs and of weights


class Pass(NamedTuple):
    """A text, an image or a pair on its way through the backbone."""

    text: int = 0  # tokens
    image: bool = False  # whether there is one
    read: float | None = None  # vectors of the last block that somebody reads; None: all

    def tokens(self, config: BackboneConfig) -> int:
        """Length of the sequence."""
        return self.text + (1 + config.patches if self.image else 0)


def linear(rows: float, *sizes: int) -> float:
    """Dense layers one after the other, `sizes[0]` to `sizes[1]` and so on, for `rows` vectors."""
    return sum(2.0 * rows * inputs * outputs for inputs, outputs in pairwise(sizes))


def block(embed_dim: int, mlp_dim: int, tokens: int, read: float | None = None) -> float:
    """A Transformer block: queries, keys and values; scores and their use; then, of what is `read`
    of it (None: all), output and feed-forward network."""
    read = tokens if read is None else read
    qkv = linear(tokens, embed_dim, 3 * embed_dim)
    attention = qkv + 4.0 * tokens**2 * embed_dim + linear(read, embed_dim, embed_dim)
    return attention + linear(read, embed_dim, mlp_dim, embed_dim)


def encoder(config: BackboneConfig, sequence: Pass) -> float:
    """The backbone on a sequence."""
    if not sequence.image:
        return blocks(config, sequence)
    patches = linear(config.patches, 3 * config.patch_size**2, config.embed_dim)
    return patches + blocks(config, sequence)


def blocks(config: BackboneConfig, sequence: Pass) -> float:
    """The backbone without the projection of patches: what activation checkpointing computes
    again."""
    sizes = config.embed_dim, config.mlp_dim, sequence.tokens(config)
    return (config.depth - 1) * block(*sizes) + block(*sizes, sequence.read)


def text_head(config: MaskedModelingConfig, masked: float) -> float:
    """Logits of text ids at masked positions."""
    embed_dim = config.backbone.embed_dim
    layer = linear(masked, embed_dim, embed_dim) if config.mlm_head == "transform" else 0.0
    return layer + linear(masked, embed_dim, config.backbone.vocab_size)


def image_head(config: MaskedModelingConfig, masked: float) -> float:
    """Logits of visual tokens at masked patches."""
    return linear(masked, config.backbone.embed_dim, config.codebook_size)


def mlm(config: MaskedModelingConfig, text: int, masked: float) -> float:
    """Masked language modeling on a text of `text` tokens, `masked` of which are masked."""
    return encoder(config.backbone, Pass(text, read=masked)) + text_head(config, masked)


def mim(config: MaskedModelingConfig, masked: float) -> float:
    """Masked image modeling on an image, `masked` of whose patches are masked."""
    return encoder(config.backbone, Pass(image=True, read=masked)) + image_head(config, masked)


def mvlm(
    config: MaskedModelingConfig, text: int, masked_tokens: float, masked_patches: float
) -> float:
    """Masked vision-language modeling on one pair, in one pass or in two."""
    heads = text_head(config, masked_tokens) + image_head(config, masked_patches)
    passes = mvlm_passes(config, text, masked_tokens, masked_patches)
    return sum(encoder(config.backbone, sequence) for sequence in passes) + heads


def mvlm_passes(
    config: MaskedModelingConfig, text: int, masked_tokens: float, masked_patches: float
) -> list[Pass]:
    """Passes of a pair: one in which both halves are masked, or one for each half."""
    if config.mvlm_mode == "joint":
        return [Pass(text, image=True, read=masked_tokens + masked_patches)]
    masked_text = Pass(text, image=True, read=masked_tokens)
    return [masked_text, Pass(text, image=True, read=masked_patches)]


def apart(text: int, pooling: str = "cls") -> tuple[Pass, Pass]:
    """An image and a text, of which the class vectors are read, or, where `pooling` is `mean`, all
    others."""
    read = 1 if pooling == "cls" else None
    return Pass(image=True, read=read), Pass(text, read=read)


def fused(text: int, pooling: str = "cls") -> Pass:
    """A pair of which [T_CLS] is read, and [I_CLS] computed beside it; all is computed where
    `pooling` is `mean`."""
    return Pass(text, image=True, read=2 if pooling == "cls" else None)


class Conv(NamedTuple):
    """A convolution that keeps the size of a square map."""

    inputs: int
    outputs: int
    kernel: int
    side: int  # of the map

    @property
    def flops(self) -> float:
        return linear(self.side**2, self.inputs * self.kernel**2, self.outputs)


def visual_tokens(config: VQKDConfig) -> float:
    """Visual tokens of one image: encoder, task layer, and the distances to the codebook."""
    patches, embed_dim = config.grid**2, config.embed_dim
    pixels = linear(patches, 3 * config.patch_size**2, embed_dim)
    task_layer = linear(patches, embed_dim, embed_dim, config.codebook_dim)
    return (
        pixels
        + _vit(config, config.depth)
        + task_layer
        + linear(patches, config.codebook_dim, config.codebook_size)
    )


def visual_tokenizer(config: VQKDConfig) -> float:
    """One image through VQ-KD as it is trained, without the teacher."""
    patches, embed_dim = config.grid**2, config.embed_dim
    task_layer = linear(patches, embed_dim, embed_dim, config.teacher_dim)
    decoder = linear(patches, config.codebook_dim, embed_dim) + _vit(config, config.decoder_depth)
    return visual_tokens(config) + decoder + task_layer


def _vit(config: VQKDConfig, depth: int) -> float:
    return depth * block(config.embed_dim, FFN_RATIO * config.embed_dim, 1 + config.grid**2)
