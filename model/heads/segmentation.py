"""Semantic segmentation (VL-BEiT §3.3): the image encoder, and UPerNet on the outputs of four of
its blocks (BEiT).

    neck          feature maps of one stride become a pyramid of four: 1/4, 1/2, 1 and 2 times that
                  stride
    decode head   pyramid pooling on the coarsest map, top-down additions, one map out of all four
                  (UPerNet)
    auxiliary     a small FCN head on the third map, for training only

Maps are [batch, channels, height, width]. Convolutions have no bias where a batch norm follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.backbone.vl_beit import VLBeit
from model.checkpoint import Pretrained
from model.normalize import Normalize

IGNORED = 255  # label of pixels without a class
AUXILIARY_LEVEL = 2  # of the pyramid: the map that the auxiliary head reads
LEVELS = 4
MAX_CHANNELS = 65_536
MAX_POOL_SCALE = 256
INIT_STD = 0.01  # of the classifiers' initial weights (mmsegmentation)


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of the heads."""

    classes: int
    # blocks of the backbone, 0-based, whose outputs become the four maps; the last is the last
    layers: list[int]
    channels: int  # of the decode head
    auxiliary_channels: int
    pool_scales: list[int]  # of the pyramid pooling: side of each pooled map
    dropout: float  # of whole channels before the classifiers

    def __post_init__(self) -> None:
        if not 1 <= self.classes < IGNORED:
            raise ValueError(f"classes: expected 1 to {IGNORED - 1}, found {self.classes}")
        for name in ("channels", "auxiliary_channels"):
            if not 1 <= getattr(self, name) <= MAX_CHANNELS:
                raise ValueError(f"{name}: expected 1 to {MAX_CHANNELS}")
        if not all(1 <= scale <= MAX_POOL_SCALE for scale in self.pool_scales):
            raise ValueError(f"pool_scales: expected 1 to {MAX_POOL_SCALE} each")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected at least 0 and less than 1, found {self.dropout}")


class Neck(nn.Module):
    """Four maps of one stride to a pyramid."""

    def __init__(self, embed_dim: int):
        super().__init__()
        self.quarter_stride = nn.Sequential(
            _deconv(embed_dim), nn.BatchNorm2d(embed_dim), nn.GELU(), _deconv(embed_dim)
        )
        self.half_stride = _deconv(embed_dim)
        self.double_stride = nn.MaxPool2d(2)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """The finest first."""
        return [
            self.quarter_stride(maps[0]),
            self.half_stride(maps[1]),
            maps[2],
            self.double_stride(maps[3]),
        ]


class UPerNet(nn.Module):
    """A pyramid to logits at the stride of its finest map."""

    def __init__(self, embed_dim: int, config: HeadConfig):
        super().__init__()
        channels = config.channels
        self.dropout = config.dropout
        self.pool_scales = config.pool_scales
        self.pooled = nn.ModuleList(conv(embed_dim, channels, 1) for _ in config.pool_scales)
        self.bottleneck = conv(embed_dim + len(config.pool_scales) * channels, channels, 3)
        self.lateral = nn.ModuleList(conv(embed_dim, channels, 1) for _ in range(LEVELS - 1))
        self.smooth = nn.ModuleList(conv(channels, channels, 3) for _ in range(LEVELS - 1))
        self.fuse = conv(LEVELS * channels, channels, 3)
        self.classify = nn.Conv2d(channels, config.classes, 1)
        self.apply(init_head)

    def forward(self, maps: list[Tensor], noise: Tensor | None) -> Tensor:
        """noise: [batch, channels] numbers in [0, 1) for dropout; None for evaluation."""
        levels = [conv(level) for conv, level in zip(self.lateral, maps[:-1], strict=True)]
        levels.append(self._pool(maps[-1]))
        for level in range(LEVELS - 1, 0, -1):
            finer = levels[level - 1]
            levels[level - 1] = finer + resize(levels[level], finer.shape[2:])
        smooth = [conv(level) for conv, level in zip(self.smooth, levels[:-1], strict=True)]
        size = smooth[0].shape[2:]
        resized = [resize(level, size) for level in (*smooth, levels[-1])]
        fused = self.fuse(torch.cat(resized, dim=1))
        return self.classify(drop_channels(fused, self.dropout, noise))

    def _pool(self, x: Tensor) -> Tensor:
        """The map together with its averages over ever smaller parts (PSPNet)."""
        maps = [x]
        for scale, conv in zip(self.pool_scales, self.pooled, strict=True):
            pooled = conv(F.adaptive_avg_pool2d(x, scale))
            maps.append(resize(pooled, x.shape[2:]))
        return self.bottleneck(torch.cat(maps, dim=1))


class AuxiliaryHead(nn.Module):
    """One convolution and a classifier."""

    def __init__(self, embed_dim: int, config: HeadConfig):
        super().__init__()
        self.dropout = config.dropout
        self.conv = conv(embed_dim, config.auxiliary_channels, 3)
        self.classify = nn.Conv2d(config.auxiliary_channels, config.classes, 1)
        self.apply(init_head)

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """noise: [batch, auxiliary channels] numbers in [0, 1) for dropout; None for
        evaluation."""
        return self.classify(drop_channels(self.conv(x), self.dropout, noise))


def conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution that keeps the size, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Maps to another [height, width]: bilinear, `align_corners` off."""
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=False)


def drop_channels(x: Tensor, rate: float, noise: Tensor | None) -> Tensor:
    """Dropout of whole channels of each sample. The noise [batch, channels] comes from outside, as
    for stochastic depth: what a sample loses must not depend on which worker has it."""
    if noise is None or rate == 0.0:
        return x
    keep = (noise >= rate).to(x.dtype) / (1.0 - rate)
    return x * keep[:, :, None, None]


def init_head(module: nn.Module) -> None:
    """For `nn.Module.apply` (mmsegmentation): He's normal where a batch norm follows, N(0, 0.01) in
    classifiers."""
    if not isinstance(module, nn.Conv2d):
        return
    if module.bias is None:
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    else:
        nn.init.normal_(module.weight, std=INIT_STD)
        nn.init.zeros_(module.bias)


def _deconv(embed_dim: int) -> nn.ConvTranspose2d:
    """Doubles height and width."""
    return nn.ConvTranspose2d(embed_dim, embed_dim, kernel_size=2, stride=2)


@dataclass(frozen=True)
class SegmentationConfig:
    """A backbone, the sizes of the heads, and by which statistics pixels are normalized."""

    backbone: BackboneConfig
    head: HeadConfig
    statistics: Literal["half", "imagenet"] = "half"  # BEiT: imagenet
    text: bool = True  # keep what only texts and masks use, frozen; BEiT's models have none

    def __post_init__(self) -> None:
        layers, depth = self.head.layers, self.backbone.depth
        in_order = layers == sorted(layers)
        if len(layers) != LEVELS or not in_order or layers[0] < 0 or layers[-1] != depth - 1:
            raise ValueError(
                f"layers: expected {LEVELS} blocks in order, the last {depth - 1}; found {layers}"
            )

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "SegmentationConfig":
        """The inverse of `dataclasses.asdict`."""
        backbone, head = BackboneConfig(**tree["backbone"]), HeadConfig(**tree["head"])
        return cls(**{**tree, "backbone": backbone, "head": head})


class Segmentation(Pretrained, nn.Module):
    """Backbone, neck and the two heads. Text experts and the final norm are not used."""

    Config: ClassVar = SegmentationConfig

    def __init__(self, config: SegmentationConfig):
        super().__init__()
        self.config = config
        self.backbone = VLBeit(config.backbone, text=config.text)
        self.backbone.freeze_text()
        self.normalize = Normalize(config.statistics)
        embed_dim = config.backbone.embed_dim
        self.neck = Neck(embed_dim)
        self.decode_head = UPerNet(embed_dim, config.head)
        self.auxiliary_head = AuxiliaryHead(embed_dim, config.head)

    def pyramid(self, pixels: Tensor, drop_path_noise: Tensor | None = None) -> list[Tensor]:
        """Images [n, 3, size, size] in -1..1 to four maps, the finest first; [I_CLS] is left
        out."""
        grid = self.config.backbone.grid
        outputs = self.backbone.image_features(
            self.normalize(pixels), self.config.head.layers, drop_path_noise
        )
        maps = [x[:, 1:].transpose(1, 2).unflatten(2, (grid, grid)) for x in outputs]
        return self.neck(maps)

    def logits(self, pixels: Tensor) -> Tensor:
        """Images [n, 3, size, size] in -1..1 to logits [n, classes, size, size], fp32."""
        return resize(self.decode_head(self.pyramid(pixels), None).float(), pixels.shape[2:])

    def forward(
        self, pixels: Tensor, labels: Tensor, drop_path_noise: Tensor, dropout_noise: Tensor
    ) -> dict[str, Tensor]:
        """Losses of both heads, summed over the pixels that have a class.

        Args:
            pixels: float [n, 3, size, size] in -1..1.
            labels: int64 [n, size, size], classes from 0, and 255 for pixels without one.
            drop_path_noise: [n, depth, 3] numbers in [0, 1) for stochastic depth.
            dropout_noise: [n, channels + auxiliary channels] numbers in [0, 1) for the heads'
                dropout.
        """
        maps = self.pyramid(pixels, drop_path_noise)
        head = self.config.head
        decode, auxiliary = dropout_noise.split([head.channels, head.auxiliary_channels], dim=1)
        return {
            "decode": pixel_loss(self.decode_head(maps, decode), labels),
            "auxiliary": pixel_loss(self.auxiliary_head(maps[AUXILIARY_LEVEL], auxiliary), labels),
        }


def pixel_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in fp32 of logits [n, classes, h, w], enlarged to the labels [n, height,
    embed_dim], summed."""
    logits = resize(logits.float(), labels.shape[1:])
    return F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
