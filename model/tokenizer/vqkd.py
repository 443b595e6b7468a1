"""VQ-KD, the visual tokenizer (BEiTv2 §2.1): a picture becomes one code per patch.

    picture -> ViT encoder -> task layer -> unit vector -> nearest code          what tokenising needs
    code -> small ViT decoder -> task layer -> features of a frozen teacher      what training adds

Tensor names are those of BEiTv2's released tokenizers. Blocks have no layer scale and no relative
positions; the CLS token only takes part in attention and is dropped at the end, where each patch
gets a LayerNorm.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.backends import cudnn

from model.backbone.layers import Attention, FeedForward, layer_norm
from model.backbone.pos_embed import resize_image_positions
from model.checkpoint import Pretrained
from model.tokenizer.quantizer import Quantizer

FFN_RATIO = 4
SIGMA = 0.02  # of initial weights, not cut (BEiTv2)


@dataclass(frozen=True)
class VQKDConfig:
    """Sizes of the tokenizer and of its decoder. Both are as wide as each other."""

    image_size: int  # pixels; pictures are square
    patch_size: int  # pixels
    depth: int  # blocks of the encoder
    decoder_depth: int  # blocks of the decoder
    width: int
    heads: int
    codes: int
    code_dim: int
    teacher_dim: int  # length of the teacher's patch features
    decay: float  # of the codebook's moving average
    delay: int  # training batches before the codebook starts

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

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = layer_norm(width)
        self.attn = Attention(width, heads)
        self.norm2 = layer_norm(width)
        self.mlp = FeedForward(width, FFN_RATIO * width)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, length, width] to the same."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """Non-overlapping patches, projected; row-major."""

    def __init__(self, channels: int, patch_size: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width in pixels] to [batch, patches, width]."""
        return self.proj(x).flatten(2).transpose(1, 2)


class PatchTransformer(nn.Module):
    """A ViT that gives one normed vector per patch: the encoder on pixels, the decoder on codes
    (patch size 1)."""

    def __init__(
        self, channels: int, patch_size: int, grid: int, depth: int, width: int, heads: int
    ):
        super().__init__()
        self.patch_embed = PatchEmbed(channels, patch_size, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.fc_norm = layer_norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, side, side] to [batch, patches, width]; positions follow the size of
        the picture."""
        x = self.patch_embed(x)
        positions = resize_image_positions(self.pos_embed, round(x.shape[1] ** 0.5))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + positions
        for block in self.blocks:
            x = block(x)
        return self.fc_norm(x[:, 1:])


class VisualTokenizer(Pretrained, nn.Module):
    """The part of VQ-KD that turns pictures into ids."""

    Config: ClassVar = VQKDConfig

    def __init__(self, config: VQKDConfig):
        super().__init__()
        self.config = config
        self.encoder = PatchTransformer(
            3, config.patch_size, config.grid, config.depth, config.width, config.heads
        )
        self.encode_task_layer = _task_layer(config.width, config.code_dim)
        self.quantize = Quantizer(config.codes, config.code_dim, config.decay, config.delay)
        self.apply(_init)

    def encode(self, images: Tensor) -> Tensor:
        """Pictures [batch, 3, size, size] in -1..1 to float32 [batch, patches, code_dim], not yet
        normalised."""
        features = self.encoder(images)
        with torch.autocast(features.device.type, enabled=False):
            return self.encode_task_layer(features.float())

    @torch.no_grad()
    def ids(self, images: Tensor) -> Tensor:
        """Pictures float32 [batch, 3, size, size] in -1..1 to codes int64 [batch, patches],
        row-major over the grid.

        Always computed in fp32: under bf16 a third of the ids of an untrained tokenizer would
        change.
        """
        with (
            torch.autocast(images.device.type, enabled=False),
            cudnn.flags(enabled=True, allow_tf32=False),
        ):
            codes = self.quantize.ids(self.encode(images).flatten(0, 1))
        return codes.view(len(images), -1)


class Decoded(NamedTuple):
    """What VQ-KD's losses need."""

    features: Tensor  # [batch, patches, teacher_dim], to be compared with the teacher's
    inputs: Tensor  # [batch * patches, code_dim], normalised inputs of the quantiser
    codes: Tensor  # [batch * patches, code_dim], the codes they chose, no gradient
    ids: Tensor  # int64 [batch * patches]


class VQKD(VisualTokenizer):
    """The tokenizer with the decoder that trains it."""

    def __init__(self, config: VQKDConfig):
        super().__init__(config)
        self.decoder = PatchTransformer(
            config.code_dim, 1, config.grid, config.decoder_depth, config.width, config.heads
        )
        self.decode_task_layer = _task_layer(config.width, config.teacher_dim)
        self.decoder.apply(_init)
        self.decode_task_layer.apply(_init)

    def forward(self, images: Tensor) -> Decoded:
        """Pictures [batch, 3, size, size] in -1..1. In training mode the codebook moves as well."""
        encoded = self.encode(images)
        batch, patches, dim = encoded.shape
        quantized = self.quantize(encoded.flatten(0, 1))
        grid = round(patches**0.5)
        codes = quantized.straight.view(batch, grid, grid, dim).permute(0, 3, 1, 2)
        features = self.decode_task_layer(self.decoder(codes))
        return Decoded(features, quantized.inputs, quantized.codes, quantized.ids)


def _task_layer(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, out))


def _init(module: nn.Module) -> None:
    """For `nn.Module.apply`: weights, CLS and positions from a normal of deviation 0.02, biases
    0."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=SIGMA)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, PatchTransformer):
        nn.init.trunc_normal_(module.cls_token, std=SIGMA)
        nn.init.trunc_normal_(module.pos_embed, std=SIGMA)
