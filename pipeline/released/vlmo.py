"""VLMo's released weights as models of this project.

VLMo is VL-BEiT with options of the backbone: biases of attention for each block in place of
positions, a norm after the words, token types, layer scale, experts for pairs. Laid out otherwise
there: one bias table for all blocks, whose columns are the blocks' heads, and BERT's own token
type, which all words share and which is added to them here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from model.backbone.config import BackboneConfig
from model.backbone.rel_pos_bias import CLS_ENTRIES
from model.heads.nlvr2 import NLVR2, NLVR2Config
from model.heads.retrieval import Retrieval, RetrievalConfig
from model.heads.vqa import VQA, VQAConfig
from pipeline.released import base_size, state_dict
from pipeline.released.state_dict import ReleasedFile, Shape

Task = Literal["pretrained", "vqa", "nlvr2", "coco", "flickr30k"]
IMAGE_SIZES: dict[Task, int] = {
    "pretrained": 224,
    "vqa": 480,
    "nlvr2": 384,
    "coco": 384,
    "flickr30k": 384,
}
BASE = replace(
    base_size.BASE,
    vocab_size=30_522,
    text_length=40,
    layer_scale=0.1,
    relative_bias=True,
    bias_per_block=True,
    token_types=True,
    word_norm=True,
    absolute_positions=False,
)

PAIR_BLOCKS = 2  # the last ones, with experts for pairs

PAIRS = (
    ("text_expert.norm", "norm2_text"),
    ("text_expert.mlp", "mlp_text"),
    ("image_expert.norm", "norm2_imag"),
    ("image_expert.mlp", "mlp_imag"),
    ("pair_expert.norm", "norm2_vl"),
    ("pair_expert.mlp", "mlp_vl"),
    ("attn_scale", "gamma_1"),
    ("ffn_scale", "gamma_2"),
    ("norm", "norm1"),
    ("backbone.norm1", "transformer.norm"),
    ("backbone.blocks", "transformer.blocks"),
    ("backbone.image_cls", "transformer.cls_token"),
    ("backbone.patch_embed", "transformer.patch_embed.proj"),
    ("backbone.word_embed", "text_embeddings.word_embeddings"),
    ("backbone.word_norm", "text_embeddings.LayerNorm"),
    ("backbone.token_types", "token_type_embeddings.weight"),
    ("image_projection", "itc_image_proj.fc"),
    ("text_projection", "itc_text_proj.fc"),
    ("match", "itm_score.fc"),
    ("log_scale", "logit_scale"),
)
MASK = "backbone.mask_token"
# What is laid out otherwise than here.
WORDS, WORD_TYPES = "backbone.word_embed.weight", "text_embeddings.token_type_embeddings.weight"
TABLE, SCALE = "relative_position_bias_table", "logit_scale"
# Rows of the table for texts: whatever their longest, offsets up to 194 both ways, and [CLS].
LONGEST_OFFSET = 194
TEXT_ROWS = 2 * LONGEST_OFFSET + 1 + CLS_ENTRIES
CROSS_ROWS = 2

# Never read by the base model, and index tables that follow from the sizes (in half precision they
# are wrong).
UNUSED = (
    "text_embeddings.position_embeddings.weight",
    "text_embeddings.position_ids",
    "relative_position_index",
    "text_relative_position_index",
    "text_imag_relative_position_index",
)
PRETRAINING_HEADS = ("mlm_score.*", "itc_vl_text_proj.*", "itc_vl_image_proj.*", "logit_vl_scale")
# Of the file of each task, beside those.
DROPPED: dict[Task, tuple[str, ...]] = {
    "pretrained": PRETRAINING_HEADS,
    "coco": (*PRETRAINING_HEADS, "pooler.*", "itm_score.*"),
    "flickr30k": (*PRETRAINING_HEADS, "pooler.*", "itm_score.*"),
}


def backbone_config(task: Task, base: BackboneConfig = BASE) -> BackboneConfig:
    """The backbone of the file of a task."""
    return replace(
        base,
        image_size=IMAGE_SIZES[task],
        second_image_type=task == "nlvr2",
        vl_ffn_start_layer=base.depth - PAIR_BLOCKS,
    )


def read(
    file: ReleasedFile, task: Task, backbone: BackboneConfig, answers: Sequence[str] = ()
) -> Retrieval | VQA | NLVR2:
    """The model in a released file, in evaluation mode. That of the pretrained one is `Retrieval`
    with matching: MLM's head is left out.

    Args:
        backbone: what the file must have the sizes of, see `backbone_config`.
        answers: of VQA's classes, in the order of its logits.

    Raises:
        UserError: not such a file: tensors missing, too many or of other shapes, or numbers that
            are not finite.
    """
    cls, config = model_config(task, backbone, answers)
    shapes = state_dict.shapes_of(lambda: cls(config))
    kind = f"VLMo's file of {task} for {backbone.image_size} pixels"
    theirs = state_dict.take(
        file,
        their_shapes(shapes, task, backbone),
        (*UNUSED, *DROPPED.get(task, ())),
        kind,
    )
    state = split_table(theirs[TABLE], backbone)
    for name in shapes:
        if not _is_derived(name):
            state[name] = theirs[_their_name(name, task)].reshape(shapes[name])
    state[WORDS] = state[WORDS] + theirs[WORD_TYPES][0]
    state[MASK] = torch.zeros(shapes[MASK])  # it masks no images
    return state_dict.build(cls, config, state)


def expected(task: Task, backbone: BackboneConfig, answers: Sequence[str]) -> dict[str, Shape]:
    """The tensors that a file must have, by its names."""
    cls, config = model_config(task, backbone, answers)
    return their_shapes(state_dict.shapes_of(lambda: cls(config)), task, backbone)


def their_shapes(
    shapes: Mapping[str, Shape], task: Task, backbone: BackboneConfig
) -> dict[str, Shape]:
    """The tensors of a file, by its names, out of those of our model by ours."""
    theirs = {}
    for name, shape in shapes.items():
        if not _is_derived(name):
            theirs[_their_name(name, task)] = shape
    if SCALE in theirs:
        theirs[SCALE] = ()
    rows = image_rows(backbone) + CROSS_ROWS + TEXT_ROWS
    theirs[TABLE] = (rows, backbone.depth * backbone.num_heads)
    theirs[WORD_TYPES] = (2, backbone.embed_dim)
    return theirs


def model_config(task: Task, backbone: BackboneConfig, answers: Sequence[str]) -> tuple[Any, Any]:
    """The class of the model of a task, and its configuration."""
    if task == "vqa":
        return VQA, VQAConfig(backbone, tuple(answers))
    if task == "nlvr2":
        return NLVR2, NLVR2Config(backbone)
    return Retrieval, RetrievalConfig(backbone, matching=task == "pretrained")


def _their_name(name: str, task: Task) -> str:
    return state_dict.their_name(name, (*PAIRS, ("classifier", f"{task}_classifier")))


def _is_derived(name: str) -> bool:
    """Whether a tensor of ours has none in the file that is the same."""
    return name == MASK or ".relative_bias." in name


def image_rows(backbone: BackboneConfig) -> int:
    """Rows of the table that are an image's."""
    return (2 * backbone.grid - 1) ** 2 + CLS_ENTRIES


def split_table(table: Tensor, backbone: BackboneConfig) -> dict[str, Tensor]:
    """The tables of each block out of the one for all, [rows, depth * num_heads].

    Its text offsets are those of the key from the query, ours those of the query from the key.
    """
    image, cross, offsets, cls = table.split(
        [image_rows(backbone), CROSS_ROWS, TEXT_ROWS - CLS_ENTRIES, CLS_ENTRIES]
    )
    longest = backbone.text_length - 1
    used = offsets[LONGEST_OFFSET - longest : LONGEST_OFFSET + longest + 1].flip(0)
    tables = {"image_table": image, "cross_table": cross, "text_table": torch.cat([used, cls])}
    state = {}
    for name, rows in tables.items():
        for block, columns in enumerate(rows.split(backbone.num_heads, dim=1)):
            state[f"backbone.blocks.{block}.relative_bias.{name}"] = columns.contiguous()
    return state
