"""VQ-KD, the visual tokenizer (BEiTv2 §2.1): an image becomes one visual token per patch.

    image -> ViT encoder -> task layer -> nearest codebook vector            what tokenizing needs
    codebook vectors -> small ViT decoder -> task layer -> features of a     what training adds
                        frozen teacher

A visual token is the index of a codebook vector. Tensor names are those of BEiTv2's released
tokenizers. Blocks have no layer scale and no relative positions; the CLS token only takes part in
attention and is dropped at the end, where each patch gets a LayerNorm.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.backends import cudnn

from model.backbone.config import MAX_DEPTH
from model.backbone.layers import Attention, FeedForward, layer_norm
from model.backbone.pos_embed import resize_image_positions
from model.checkpoint import Pretrained
from model.tokenizer.quantizer import Quantizer

FFN_RATIO = 4
INIT_STD = 0.02  # of initial weights, not cut (BEiTv2)


@dataclass(frozen=True)
class VQKDConfig:
    """Sizes of the tokenizer and of its decoder, which has the same `embed_dim`."""

    image_size: int  # pixels; images are square
    patch_size: int  # pixels
    depth: int  # blocks of the encoder
    decoder_depth: int  # blocks of the decoder
    embed_dim: int
    num_heads: int
    codebook_size: int  # how many visual tokens there are
    codebook_dim: int  # length of their vectors
    teacher_dim: int  # length of the teacher's patch features
    ema_decay: float  # of the codebook's moving average
    codebook_start_step: int  # training batches before the codebook starts

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= MAX_DEPTH:
            raise ValueError(f"depth: expected 1 to {MAX_DEPTH} blocks, found {self.depth}")

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "VQKDConfig":
        """The inverse of `dataclasses.asdict`."""
        return cls(**tree)

    @property
    def grid(self) -> int:
        """Patches per side."""
        return self.image_size // self.patch_size


class Block(nn.Module):
    """Pre-norm Transformer block."""

    def __init__(self, embed_dim: int, num_heads: int):
        super().__init__()
        self.norm1 = layer_norm(embed_dim)
        self.attn = Attention(embed_dim, num_heads)
        self.norm2 = layer_norm(embed_dim)
        self.mlp = FeedForward(embed_dim, FFN_RATIO * embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, length, embed_dim] to the same."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """Non-overlapping patches, projected; row-major."""

    def __init__(self, channels: int, patch_size: int, embed_dim: int):
        super().__init__()
        self.proj = nn.Conv2d(channels, embed_dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width in pixels] to [batch, patches, embed_dim]."""
        return self.proj(x).flatten(2).transpose(1, 2)


class PatchTransformer(nn.Module):
    """A ViT that gives one normed vector per patch: the encoder on pixels, the decoder on codebook
    vectors (patch size 1)."""

    def __init__(
        self, channels: int, patch_size: int, grid: int, depth: int, embed_dim: int, num_heads: int
    ):
        super().__init__()
        self.patch_embed = PatchEmbed(channels, patch_size, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, embed_dim))
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads) for _ in range(depth))
        self.fc_norm = layer_norm(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, side, side] to [batch, patches, embed_dim]; positions follow the size
        of the image."""
        x = self.patch_embed(x)
        positions = resize_image_positions(self.pos_embed, round(x.shape[1] ** 0.5))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + positions
        for block in self.blocks:
            x = block(x)
        return self.fc_norm(x[:, 1:])


class VisualTokenizer(Pretrained, nn.Module):
    """The part of VQ-KD that turns images into visual tokens."""

    Config: ClassVar = VQKDConfig

    def __init__(self, config: VQKDConfig):
        super().__init__()
        self.config = config
        self.encoder = PatchTransformer(
            3, config.patch_size, config.grid, config.depth, config.embed_dim, config.num_heads
        )
        self.encode_task_layer = _task_layer(config.embed_dim, config.codebook_dim)
        self.quantize = Quantizer(
            config.codebook_size, config.codebook_dim, config.ema_decay, config.codebook_start_step
        )
        self.apply(_init)

    def encode(self, images: Tensor) -> Tensor:
        """Images [batch, 3, size, size] in -1..1 to float32 [batch, patches, codebook_dim], not yet
        normalized."""
        features = self.encoder(images)
        with torch.autocast(features.device.type, enabled=False):
            return self.encode_task_layer(features.float())

    @torch.no_grad()
    def token_ids(self, images: Tensor) -> Tensor:
        """Images float32 [batch, 3, size, size] in -1..1 to visual tokens int64 [batch, patches],
        row-major over the grid; -1 where the vector of a patch is no finite number.

        Always computed in fp32: under bf16 a third of the ids of an untrained tokenizer would
        change.
        """
        with (
            torch.autocast(images.device.type, enabled=False),
            cudnn.flags(enabled=True, allow_tf32=False),
        ):
            vectors = self.encode(images).flatten(0, 1)
            token_ids = self.quantize.token_ids(vectors)
        token_ids = torch.where(vectors.isfinite().all(dim=1), token_ids, -1)
        return token_ids.view(len(images), -1)


class Decoded(NamedTuple):
    """What VQ-KD's losses need."""

    features: Tensor  # [batch, patches, teacher_dim], to be compared with the teacher's
    inputs: Tensor  # [batch * patches, codebook_dim], normalized inputs of the quantizer
    quantized: Tensor  # [batch * patches, codebook_dim], nearest codebook vectors, no gradient
    token_ids: Tensor  # int64 [batch * patches]


class VQKD(VisualTokenizer):
    """The tokenizer with the decoder that trains it."""

    def __init__(self, config: VQKDConfig):
        super().__init__(config)
        self.decoder = PatchTransformer(
            config.codebook_dim,
            1,
            config.grid,
            config.decoder_depth,
            config.embed_dim,
            config.num_heads,
        )
        self.decode_task_layer = _task_layer(config.embed_dim, config.teacher_dim)
        self.decoder.apply(_init)
        self.decode_task_layer.apply(_init)

    def forward(self, images: Tensor) -> Decoded:
        """Images [batch, 3, size, size] in -1..1. In training mode the codebook moves as well."""
        encoded = self.encode(images)
        batch, patches, dim = encoded.shape
        quantized = self.quantize(encoded.flatten(0, 1))
        grid = round(patches**0.5)
        vectors = quantized.straight_through.view(batch, grid, grid, dim).permute(0, 3, 1, 2)
        features = self.decode_task_layer(self.decoder(vectors))
        return Decoded(features, quantized.inputs, quantized.quantized, quantized.token_ids)


def _task_layer(embed_dim: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(embed_dim, embed_dim), nn.Tanh(), nn.Linear(embed_dim, out))


def _init(module: nn.Module) -> None:
    """For `nn.Module.apply`: weights, CLS and positions N(0, 0.02), biases 0."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=INIT_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, PatchTransformer):
        nn.init.trunc_normal_(module.cls_token, std=INIT_STD)
        nn.init.trunc_normal_(module.pos_embed, std=INIT_STD)
