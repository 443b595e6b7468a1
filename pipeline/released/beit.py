"""BEiT's and BEiTv2's released weights as models of this project.

Both are VL-BEiT's path of images with options of the backbone: biases of attention in place of
positions, and layer scale. The biases are shared by all blocks after pretraining, and each block's
own after fine-tuning. BEiTv2 wants images normalized by ImageNet's statistics, BEiT does for
segmentation alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from model.backbone.config import BackboneConfig
from model.heads.classification import Classification, ClassificationConfig
from model.heads.segmentation import HeadConfig, Segmentation, SegmentationConfig
from pipeline.released import base_size, pixel_statistics, state_dict
from pipeline.released.state_dict import Pairs, ReleasedFile

if TYPE_CHECKING:
    from model.timm_encoder import ImageEncoder

Task = Literal["pretrained", "imagenet1k", "ade20k"]
Family = Literal["beit", "beitv2"]
TITLES: dict[Family, str] = {"beit": "BEiT", "beitv2": "BEiTv2"}
STATISTICS: dict[Family, str] = {"beit": "half", "beitv2": "imagenet"}  # but for segmentation

BASE = replace(
    base_size.BASE,
    layer_scale=0.1,
    relative_bias=True,
    bias_per_block=True,
    absolute_positions=False,
    final_norm=False,
)

TABLE = "relative_position_bias_table"
BACKBONE_PAIRS: Pairs = (
    ("image_expert.norm", "norm2"),
    ("image_expert.mlp", "mlp"),
    ("norm", "norm1"),
    ("attn_scale", "gamma_1"),
    ("ffn_scale", "gamma_2"),
    ("backbone.norm1", "norm"),
    ("backbone.relative_bias.image_table", f"rel_pos_bias.{TABLE}"),
    ("relative_bias.image_table", f"attn.{TABLE}"),
    ("backbone.image_cls", "cls_token"),
    ("backbone.patch_embed", "patch_embed.proj"),
    ("backbone.blocks", "blocks"),
)
# Convolutions with a batch norm behind, by their names here and there.
CONVOLUTIONS: Pairs = (
    *((f"decode_head.pooled.{scale}", f"decode_head.psp_modules.{scale}.1") for scale in range(4)),
    ("decode_head.bottleneck", "decode_head.bottleneck"),
    *((f"decode_head.lateral.{level}", f"decode_head.lateral_convs.{level}") for level in range(3)),
    *((f"decode_head.smooth.{level}", f"decode_head.fpn_convs.{level}") for level in range(3)),
    ("decode_head.fuse", "decode_head.fpn_bottleneck"),
    ("auxiliary_head.conv", "auxiliary_head.convs.0"),
)
HEAD_PAIRS: dict[Task, Pairs] = {
    "pretrained": (),
    "imagenet1k": (("norm", "fc_norm"),),
    "ade20k": (
        *((f"{ours}.0", f"{theirs}.conv") for ours, theirs in CONVOLUTIONS),
        *((f"{ours}.1", f"{theirs}.bn") for ours, theirs in CONVOLUTIONS),
        ("neck.quarter_stride", "backbone.fpn1"),
        ("neck.half_stride", "backbone.fpn2.0"),
        ("classify", "conv_seg"),
    ),
}
# How many batches a norm has seen in training: nothing that has been trained depends on it.
COUNTER = "num_batches_tracked"
# Patterns of names that a file may also have: index tables, which follow from the sizes, and of
# the pretraining what an image encoder has no place for. BEiTv2's has a second head, behind blocks
# of its own.
INDEX_TABLES = "*relative_position_index"
DROPPED: dict[Task, Sequence[str]] = {
    "pretrained": (INDEX_TABLES, "mask_token", "lm_head.*", "cls_pt_*"),
    "imagenet1k": (INDEX_TABLES,),
    "ade20k": (INDEX_TABLES, f"*.{COUNTER}"),
}
AUXILIARY_CHANNELS = 256
POOL_SCALES = (1, 2, 3, 6)
DROPOUT = 0.1


def backbone_config(task: Task, base: BackboneConfig = BASE) -> BackboneConfig:
    """The backbone of the file of a task, for images of the size of `base`."""
    is_pretrained = task == "pretrained"
    return replace(base, bias_per_block=not is_pretrained, final_norm=is_pretrained)


def head_config(backbone: BackboneConfig, classes: int) -> HeadConfig:
    """UPerNet as BEiT has it: a map after a third, a half, two thirds and all of the blocks, and as
    many channels as the backbone."""
    depth = backbone.depth
    return HeadConfig(
        classes=classes,
        layers=[depth // 3 - 1, depth // 2 - 1, 2 * depth // 3 - 1, depth - 1],
        channels=backbone.embed_dim,
        auxiliary_channels=AUXILIARY_CHANNELS,
        pool_scales=list(POOL_SCALES),
        dropout=DROPOUT,
    )


def read(
    file: ReleasedFile,
    task: Task,
    backbone: BackboneConfig,
    classes: Sequence[str] = (),
    family: Family = "beit",
) -> "ImageEncoder | Classification | Segmentation":
    """The model in a released file, in evaluation mode, for images in -1..1. That of a pretrained
    one is the image encoder alone, after the last norm.

    Args:
        backbone: what the file must have the sizes of, see `backbone_config`.
        classes: names in the order of the file's classifier.

    Raises:
        UserError: not such a file: tensors missing, too many or of other shapes, or numbers that
            are not finite.
    """
    cls, config = model_config(task, backbone, classes)
    shapes = state_dict.shapes_of(lambda: cls(config))
    names, expected, state = {}, {}, {}
    for name, shape in shapes.items():
        if name.endswith(COUNTER):
            state[name] = torch.zeros(shape, dtype=torch.int64)
        else:
            names[name] = their_name(name, task)
            expected[names[name]] = shape
    kind = f"{TITLES[family]}'s file of {task} for {backbone.image_size} pixels"
    taken = state_dict.take(file, expected, DROPPED[task], kind)
    for name, theirs in names.items():
        state[name] = taken[theirs]
    model = state_dict.build(cls, config, state)
    if task != "ade20k":  # which normalizes images itself
        pixel_statistics.fold(model.backbone.patch_embed, STATISTICS[family])
    return model


def class_names(file: ReleasedFile) -> tuple[str, ...]:
    """What a segmentation file calls its classes, in their order, beside its tensors; empty where it
    does not say so."""
    meta = file.beside.get("meta")
    names = meta.get("CLASSES") if isinstance(meta, dict) else None
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return tuple(names)
    return ()


def their_name(name: str, task: Task) -> str:
    """A tensor of ours by the name that it has in the file of a task."""
    if name.startswith("backbone."):
        prefix = "backbone." if task == "ade20k" else ""
        return prefix + state_dict.their_name(name, BACKBONE_PAIRS)
    return state_dict.their_name(name, HEAD_PAIRS[task])


def model_config(task: Task, backbone: BackboneConfig, classes: Sequence[str]) -> tuple[Any, Any]:
    """The class of the model of a task, and its configuration."""
    if task == "imagenet1k":
        return Classification, ClassificationConfig(backbone, len(classes), text=False)
    if task == "ade20k":
        head = head_config(backbone, len(classes))
        return Segmentation, SegmentationConfig(backbone, head, "imagenet", text=False)
    from model.timm_encoder import ImageEncoder, ImageEncoderConfig  # timm takes two seconds

    return ImageEncoder, ImageEncoderConfig(backbone, num_classes=0, global_pool="")
