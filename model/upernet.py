"""UPerNet on the features of a plain Transformer, with an auxiliary head (BEiT's semantic segmentation).

    neck          feature maps of one stride become a pyramid of four: 1/4, 1/2, 1 and 2 times that stride
    decode head   pyramid pooling on the coarsest map, top-down additions, one map out of all four (UPerNet)
    auxiliary     a small FCN head on the third map, for training only

Maps are [batch, channels, height, width]. Convolutions have no bias where a batch norm follows.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 4
SIGMA = 0.01  # of the classifiers' initial weights (mmsegmentation)


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of the heads."""

    classes: int
    layers: list[int]  # blocks of the backbone, 0-based, whose outputs become the four maps; the last is the last block
    channels: int  # of the decode head
    auxiliary_channels: int
    pool_scales: list[int]  # of the pyramid pooling: side of each pooled map
    dropout: float  # of whole channels before the classifiers


class Neck(nn.Module):
    """Four maps of one stride to a pyramid."""

    def __init__(self, width: int):
        super().__init__()
        self.quarter_stride = nn.Sequential(_deconv(width), nn.BatchNorm2d(width), nn.GELU(), _deconv(width))
        self.half_stride = _deconv(width)
        self.double_stride = nn.MaxPool2d(2)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """The finest first."""
        return [self.quarter_stride(maps[0]), self.half_stride(maps[1]), maps[2], self.double_stride(maps[3])]


class UPerNet(nn.Module):
    """A pyramid to logits at the stride of its finest map."""

    def __init__(self, width: int, config: HeadConfig):
        super().__init__()
        channels = config.channels
        self.dropout = config.dropout
        self.pool_scales = config.pool_scales
        self.pooled = nn.ModuleList(conv(width, channels, 1) for _ in config.pool_scales)
        self.bottleneck = conv(width + len(config.pool_scales) * channels, channels, 3)
        self.lateral = nn.ModuleList(conv(width, channels, 1) for _ in range(LEVELS - 1))
        self.smooth = nn.ModuleList(conv(channels, channels, 3) for _ in range(LEVELS - 1))
        self.fuse = conv(LEVELS * channels, channels, 3)
        self.classify = nn.Conv2d(channels, config.classes, 1)
        self.apply(init_head)

    def forward(self, maps: list[Tensor], uniforms: Tensor | None) -> Tensor:
        """uniforms: [batch, channels] numbers in [0, 1) for dropout; None for evaluation."""
        levels = [conv(level) for conv, level in zip(self.lateral, maps[:-1], strict=True)]
        levels.append(self._pool(maps[-1]))
        for level in range(LEVELS - 1, 0, -1):
            levels[level - 1] = levels[level - 1] + resize(levels[level], levels[level - 1].shape[2:])
        smooth = [conv(level) for conv, level in zip(self.smooth, levels[:-1], strict=True)]
        size = smooth[0].shape[2:]
        fused = self.fuse(torch.cat([resize(level, size) for level in (*smooth, levels[-1])], dim=1))
        return self.classify(drop_channels(fused, self.dropout, uniforms))

    def _pool(self, x: Tensor) -> Tensor:
        """The map together with its averages over ever smaller parts (PSPNet)."""
        pooled = [resize(conv(F.adaptive_avg_pool2d(x, scale)), x.shape[2:])
                  for scale, conv in zip(self.pool_scales, self.pooled, strict=True)]
        return self.bottleneck(torch.cat([x, *pooled], dim=1))


class AuxiliaryHead(nn.Module):
    """One convolution and a classifier."""

    def __init__(self, width: int, config: HeadConfig):
        super().__init__()
        self.dropout = config.dropout
        self.conv = conv(width, config.auxiliary_channels, 3)
        self.classify = nn.Conv2d(config.auxiliary_channels, config.classes, 1)
        self.apply(init_head)

    def forward(self, x: Tensor, uniforms: Tensor | None) -> Tensor:
        """uniforms: [batch, auxiliary channels] numbers in [0, 1) for dropout; None for evaluation."""
        return self.classify(drop_channels(self.conv(x), self.dropout, uniforms))


def conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution that keeps the size, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
                         nn.BatchNorm2d(outputs), nn.ReLU())


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, `align_corners` off."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def drop_channels(x: Tensor, rate: float, uniforms: Tensor | None) -> Tensor:
    """Dropout of whole channels of each sample. The draws [batch, channels] come from outside, as for stochastic depth:
    what a sample loses must not depend on which worker has it."""
    if uniforms is None or rate == 0.0:
        return x
    keep = (uniforms >= rate).to(x.dtype) / (1.0 - rate)
    return x * keep[:, :, None, None]


def init_head(module: nn.Module) -> None:
    """For `nn.Module.apply` (mmsegmentation): He's normal where a batch norm follows, N(0, 0.01) in classifiers."""
    if not isinstance(module, nn.Conv2d):
        return
    if module.bias is None:
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    else:
        nn.init.normal_(module.weight, std=SIGMA)
        nn.init.zeros_(module.bias)


def _deconv(width: int) -> nn.ConvTranspose2d:
    """Twice the size."""
    return nn.ConvTranspose2d(width, width, kernel_size=2, stride=2)
