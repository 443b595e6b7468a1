"""What semantic segmentation costs, for `make plan`: FLOPs, and bytes that neck and heads keep."""

from model.backbone.config import BackboneConfig
from model.heads.segmentation import (
    AUXILIARY_LEVEL,
    LEVELS,
    HeadConfig,
    Segmentation,
    SegmentationConfig,
)
from model.meta import on_meta
from pipeline.tasks.segmentation.predict import EvaluateParams
from pipeline.tasks.segmentation.training.data import EvaluationInputs
from pipeline.tasks.segmentation.training.task import FineTuneParams
from pipeline.utils import flops, memory
from pipeline.utils.flops import Conv, Pass
from pipeline.utils.memory import WIDE, Precision
from pipeline.utils.sample_cost import EvaluationCost, SampleCost

LABEL = 8  # bytes of a pixel's label
WINDOWS = 2  # of an image of 4:3, as ADE20K's usually are


def training(params: FineTuneParams, backbone: BackboneConfig) -> tuple[Segmentation, SampleCost]:
    """The model on the meta device, and what one of its samples takes."""
    precision = Precision(params.loop.precision == "bf16")
    config = SegmentationConfig(backbone, params.head, text=backbone.vocab_size > 0)
    model = on_meta(lambda: Segmentation(config))
    return model, SampleCost(
        params.inputs.order.batch_size,
        sample_flops(backbone, params.head),
        (Pass(image=True),),
        head_bytes(backbone, params.head, precision),
    )


def evaluation(
    config: SegmentationConfig, inputs: EvaluationInputs, params: EvaluateParams, tested: float
) -> EvaluationCost:
    """`tested` images at all ratios and flips."""
    views = sum(ratio**2 for ratio in params.ratios) * (2 if params.flip else 1)
    windows = WINDOWS * views * tested
    precision = Precision(params.precision == "bf16")
    window = memory.forward(config.backbone, Pass(image=True), precision)
    return EvaluationCost(
        f"{tested:,.0f} images, about {windows:,.0f} windows",
        windows * window_flops(config.backbone, config.head),
        params.batch * (window + window_bytes(config.backbone, config.head, precision)),
    )


def sample_flops(config: BackboneConfig, head: HeadConfig) -> float:
    """Forward FLOPs of a crop through both heads."""
    conv, classify = auxiliary_convs(config, head)
    return window_flops(config, head) + conv.flops + classify.flops


def window_flops(config: BackboneConfig, head: HeadConfig) -> float:
    """Forward FLOPs of a window with UPerNet on it, as at test time."""
    neck = sum(
        flops.linear(grid**2, config.embed_dim, 4 * config.embed_dim)
        for grid in (config.grid, 2 * config.grid, config.grid)
    )
    convs, classify = decode_convs(config, head)
    decode = sum(conv.flops for conv in convs)
    return flops.encoder(config, Pass(image=True)) + neck + decode + classify.flops


def decode_convs(config: BackboneConfig, head: HeadConfig) -> tuple[list[Conv], Conv]:
    """UPerNet's convolutions with a batch norm behind them, and its classifier."""
    embed_dim, channels, sides = config.embed_dim, head.channels, pyramid_sides(config)
    pooled = [Conv(embed_dim, channels, 1, scale) for scale in head.pool_scales]
    bottleneck = Conv(embed_dim + len(pooled) * channels, channels, 3, sides[-1])
    lateral, smooth = [], []
    for side in sides[:-1]:
        lateral.append(Conv(embed_dim, channels, 1, side))
        smooth.append(Conv(channels, channels, 3, side))
    fuse = Conv(LEVELS * channels, channels, 3, sides[0])
    return [*pooled, bottleneck, *lateral, *smooth, fuse], Conv(channels, head.classes, 1, sides[0])


def auxiliary_convs(config: BackboneConfig, head: HeadConfig) -> tuple[Conv, Conv]:
    """The auxiliary head's convolution and its classifier."""
    side = pyramid_sides(config)[AUXILIARY_LEVEL]
    return (
        Conv(config.embed_dim, head.auxiliary_channels, 3, side),
        Conv(head.auxiliary_channels, head.classes, 1, side),
    )


def pyramid_sides(config: BackboneConfig) -> tuple[int, int, int, int]:
    """Sides of the neck's maps, the finest first."""
    return 4 * config.grid, 2 * config.grid, config.grid, config.grid // 2


def window_bytes(config: BackboneConfig, head: HeadConfig, precision: Precision) -> float:
    """What neck and decode head have of one window at test time, when they have most: the neck's
    maps, UPerNet's levels before and after smoothing, these at the finest size, apart, joined, and
    once more as the convolution wants them that fuses them, and what that makes of them."""
    fine, middle, coarse, half = (side**2 for side in pyramid_sides(config))
    maps = config.embed_dim * (fine + middle + coarse + half)
    levels = head.channels * 2 * (fine + middle + coarse)
    fused = head.channels * (3 * LEVELS + 1) * fine
    return precision.narrow * (maps + levels + fused)


def head_bytes(config: BackboneConfig, head: HeadConfig, precision: Precision) -> float:
    """What neck and heads keep of one crop, with both losses at the crop's size."""
    narrow, embed_dim, channels = precision.narrow, config.embed_dim, head.channels
    fine, middle, coarse, half = (side**2 for side in pyramid_sides(config))
    casts = 3 * coarse if precision.half else 0  # in fp32 the blocks keep these maps themselves
    neck = narrow * embed_dim * (casts + 4 * middle + fine + half)
    decode, _ = decode_convs(config, head)
    joined = narrow * (decode[len(head.pool_scales)].inputs * half + decode[-1].inputs * fine)
    added = narrow * channels * (fine + middle + coarse)  # top-down
    auxiliary, _ = auxiliary_convs(config, head)
    classified = narrow * (channels * fine + head.auxiliary_channels * coarse)
    losses = (2 * WIDE * head.classes + LABEL) * config.image_size**2
    convs = memory.convs([*decode, auxiliary], precision)
    return neck + joined + added + classified + convs + losses
