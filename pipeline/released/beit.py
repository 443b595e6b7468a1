"""BEiT's and BEiTv2's released weights as models of this project.

Both are VL-BEiT's path of images with options of the backbone: biases of attention in place of
positions, and layer scale. The biases are shared by all blocks after pretraining, and each block's
own after fine-tuning. BEiTv2 wants images normalized by ImageNet's statistics, BEiT does for
segmentation alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from model.backbone.config import BackboneConfig
from model.heads.classification import Classification, ClassificationConfig
from model.timm_encoder import ImageEncoder, ImageEncoderConfig
from pipeline.released import pixel_statistics, state_dict
from pipeline.released.state_dict import Pairs, Shape

Task = Literal["pretrained", "imagenet1k"]
Family = Literal["beit", "beitv2"]
TITLES: dict[Family, str] = {"beit": "BEiT", "beitv2": "BEiTv2"}
STATISTICS: dict[Family, str] = {"beit": "half", "beitv2": "imagenet"}  # but for segmentation
WRAPPERS = ("state_dict", "model", "module")

# The base size, fine-tuned at the pretraining's resolution.
BASE = BackboneConfig(
    image_size=224,
    patch_size=16,
    depth=12,
    embed_dim=768,
    num_heads=12,
    mlp_dim=3072,
    vocab_size=1,
    text_length=1,
    experts="mome",
    init_std=0.02,
    drop_path=0.0,
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
HEAD_PAIRS: dict[Task, Pairs] = {"pretrained": (), "imagenet1k": (("norm", "fc_norm"),)}
# Patterns of names that a file may also have: index tables, which follow from the sizes, and of
# the pretraining what an image encoder has no place for. BEiTv2's has a second head, behind blocks
# of its own.
INDEX_TABLES = "*relative_position_index"
DROPPED: dict[Task, Sequence[str]] = {
    "pretrained": (INDEX_TABLES, "mask_token", "lm_head.*", "cls_pt_*"),
    "imagenet1k": (INDEX_TABLES,),
}


def backbone_config(task: Task, base: BackboneConfig = BASE) -> BackboneConfig:
    """The backbone of the file of a task, for images as large as in pretraining."""
    is_pretrained = task == "pretrained"
    return replace(base, bias_per_block=not is_pretrained, final_norm=is_pretrained)


def read(
    path: Path,
    task: Task,
    backbone: BackboneConfig,
    classes: Sequence[str] = (),
    family: Family = "beit",
) -> ImageEncoder | Classification:
    """The model in a released file, in evaluation mode, for images in -1..1. That of a pretrained
    one is the image encoder alone, after the last norm.

    Args:
        backbone: what the file must have the sizes of, see `backbone_config`.
        classes: names in the order of the file's classifier.

    Raises:
        UserError: no such file, not such a file, tensors missing, too many or of other shapes, or
            numbers that are not finite.
    """
    cls, config = _model(task, backbone, classes)
    shapes = state_dict.shapes_of(lambda: cls(config))
    names = {name: their_name(name, task) for name in shapes}
    expected: dict[str, Shape] = {}
    for name, theirs in names.items():
        expected[theirs] = shapes[name]
    file = state_dict.read(path, WRAPPERS)
    kind = f"{TITLES[family]}'s file of {task} for {backbone.image_size} pixels"
    taken = state_dict.take(file, expected, DROPPED[task], kind)
    state = {name: taken[theirs] for name, theirs in names.items()}
    model = state_dict.build(cls, config, state)
    pixel_statistics.fold(model.backbone.patch_embed, STATISTICS[family])
    return model


def their_name(name: str, task: Task) -> str:
    """A tensor of ours by the name that it has in the file of a task."""
    if name.startswith("backbone."):
        return state_dict.their_name(name, BACKBONE_PAIRS)
    return state_dict.their_name(name, HEAD_PAIRS[task])


def _model(task: Task, backbone: BackboneConfig, classes: Sequence[str]) -> tuple[Any, Any]:
    """The class of the model of a task, and its configuration."""
    if task == "imagenet1k":
        return Classification, ClassificationConfig(backbone, len(classes), text=False)
    return ImageEncoder, ImageEncoderConfig(backbone, num_classes=0, global_pool="")
