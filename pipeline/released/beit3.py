"""BEiT-3's released weights, such as `beit3_base_patch16_384_coco_retrieval.pth`, as models of this
project.

In a file every module has a half `A` for images and a half `B` for texts. Laid out otherwise than
here: queries, keys and values are three matrices, the position tables begin with two rows that
are never read, and the word table ends with eight rows for ids that its tokenizer does not have.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from model.backbone.config import BackboneConfig
from model.backbone.vl_beit import VLBeit
from model.checkpoint import Pretrained
from model.heads.classification import Classification, ClassificationConfig
from model.heads.nlvr2 import NLVR2, NLVR2Config
from model.heads.retrieval import Retrieval, RetrievalConfig
from model.heads.vqa import VQA, VQAConfig
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from pipeline.released import base_size, pixel_statistics, state_dict
from pipeline.released.state_dict import Pairs, ReleasedFile, Shape

Task = Literal["pretrained", "indomain", "itc", "vqa", "nlvr2", "coco", "flickr30k", "imagenet1k"]
UNREAD_POSITIONS = 2  # rows of both position tables
TEXT_POSITIONS = 1024  # rows of the texts' one
UNUSED_IDS = 8  # rows of the word table and of MLM's head: ids 64,002 to 64,009
OF_WORDS = ("word_embed.weight", "mlm_head.weight", "mlm_head.bias")  # our names of these

BASE = replace(
    base_size.BASE,
    vocab_size=64_002,
    text_length=64,
    experts="multiway",
    norm_eps=1e-5,
)

MODALITIES = {"image": "A", "text": "B"}
LAYERS = {
    "attn_norm": "self_attn_layer_norm.{}",
    "qkv": "self_attn.qkv.{}",
    "attended_norm": "self_attn.inner_attn_ln.{}",
    "proj": "self_attn.out_proj.{}",
    "mlp_norm": "final_layer_norm.{}",
    "fc1": "ffn.{}.fc1",
    "hidden_norm": "ffn.{}.ffn_layernorm",
    "fc2": "ffn.{}.fc2",
}
BACKBONE_PAIRS: Pairs = (
    ("backbone.norm", "beit3.encoder.layer_norm.A"),
    ("backbone.text_norm", "beit3.encoder.layer_norm.B"),
    ("backbone.image_positions", "beit3.encoder.embed_positions.A.weight"),
    ("backbone.text_positions", "beit3.encoder.embed_positions.B.weight"),
    ("backbone.word_embed", "beit3.text_embed"),
    ("backbone.patch_embed", "beit3.vision_embed.proj"),
    ("backbone.image_cls", "beit3.vision_embed.cls_token"),
    ("backbone.mask_token", "beit3.vision_embed.mask_token"),
    ("backbone.blocks", "beit3.encoder.layers"),
    *(
        (f"{half}.{ours}", theirs.format(letter))
        for half, letter in MODALITIES.items()
        for ours, theirs in LAYERS.items()
    ),
)
RETRIEVAL_PAIRS: Pairs = (
    ("image_projection", "vision_head"),
    ("text_projection", "language_head"),
    ("log_scale", "logit_scale"),
)
NLVR2_PAIRS: Pairs = (
    ("classifier.0", "head.norm1"),
    ("classifier.1", "head.dense1"),
    ("classifier.2", "head.norm2"),
    ("classifier.4", "head.dense2"),
)


@dataclass(frozen=True)
class Kind:
    """What a released file is for."""

    image_size: int  # pixels, at base size
    model: Any  # our class
    # of the model, from a backbone and the names of its classes in the classifier's order
    config: Callable[[BackboneConfig, tuple[str, ...]], Any]
    pairs: Pairs = ()  # names of the head
    final_norm: bool = True  # whether there is one
    dropped: Sequence[str] = ()  # patterns of names that a file may also have
    statistics: str = "half"  # of the images that it was trained on


PRETRAINED = Kind(224, MaskedModeling, lambda backbone, _: MaskedModelingConfig(backbone, 8192))
# The contrastive projections, and no head that matches pairs.
RETRIEVAL = Kind(
    384,
    Retrieval,
    lambda backbone, _: RetrievalConfig(backbone, matching=False),
    RETRIEVAL_PAIRS,
)
KINDS: Mapping[Task, Kind] = {
    "pretrained": PRETRAINED,
    "indomain": PRETRAINED,
    "itc": replace(RETRIEVAL, image_size=224),
    "vqa": Kind(
        480,
        VQA,
        lambda backbone, answers: VQAConfig(backbone, answers, image_cls=True),
        (("classifier", "head"),),
        final_norm=False,
    ),
    "nlvr2": Kind(
        224, NLVR2, lambda backbone, _: NLVR2Config(backbone, image_cls=True), NLVR2_PAIRS
    ),
    "coco": RETRIEVAL,
    "flickr30k": RETRIEVAL,
    "imagenet1k": Kind(
        224,
        Classification,
        lambda backbone, classes: ClassificationConfig(backbone, len(classes), text=False),
        (("norm", "fc_norm"),),
        final_norm=False,
        dropped=("beit3.text_embed.*", "beit3.*.B.*", "beit3.vision_embed.mask_token"),
        statistics="imagenet",
    ),
}
# A pretrained file need not have the heads of the pretraining: the backbone alone is read then.
HEADS = ("mlm_head.weight", "mim_head.weight")
HEADLESS = Kind(224, VLBeit, lambda backbone, _: backbone, dropped=("mlm_head.*", "mim_head.*"))


def backbone_config(task: Task, base: BackboneConfig = BASE) -> BackboneConfig:
    """The backbone of the file of a task; ImageNet's has no words."""
    kind = KINDS[task]
    if task == "imagenet1k":
        base = replace(base, vocab_size=0, text_length=1)
    return replace(base, image_size=kind.image_size, final_norm=kind.final_norm)


def read(
    file: ReleasedFile, task: Task, backbone: BackboneConfig, classes: Sequence[str] = ()
) -> Pretrained:
    """The model in a released file, in evaluation mode.

    Args:
        backbone: what the file must have the sizes of, see `backbone_config`.
        classes: names in the order of the file's classifier: VQA's answers, ImageNet's classes.

    Raises:
        UserError: not such a file: tensors missing, too many or of other shapes, or numbers that
            are not finite.
    """
    kind = KINDS[task]
    if kind is PRETRAINED and not all(name in file.tensors for name in HEADS):
        kind = HEADLESS
    config = kind.config(backbone, tuple(classes))
    shapes = state_dict.shapes_of(lambda: kind.model(config))
    sources = {name: _sources(name, shape, kind) for name, shape in shapes.items()}
    expected: dict[str, Shape] = {}
    for tensors in sources.values():
        expected |= tensors
    wanted = f"BEiT-3's file of {task} for {backbone.image_size} pixels"
    taken = state_dict.take(file, expected, kind.dropped, wanted)
    state = {}
    for name, shape in shapes.items():
        state[name] = _laid_out(name, shape, [taken[theirs] for theirs in sources[name]])
    model = state_dict.build(kind.model, config, state)
    vl_beit = model if isinstance(model, VLBeit) else model.backbone
    pixel_statistics.fold(vl_beit.patch_embed, kind.statistics)
    return model


def model_config(task: Task, backbone: BackboneConfig, classes: Sequence[str]) -> tuple[Any, Any]:
    """The class of the model of a task, and its configuration; of a pretrained file with heads."""
    kind = KINDS[task]
    return kind.model, kind.config(backbone, tuple(classes))


def expected(task: Task, backbone: BackboneConfig, classes: Sequence[str]) -> dict[str, Shape]:
    """The tensors that a file has, by its names; of a pretrained one with its heads."""
    cls, config = model_config(task, backbone, classes)
    tensors: dict[str, Shape] = {}
    for name, shape in state_dict.shapes_of(lambda: cls(config)).items():
        tensors |= _sources(name, shape, KINDS[task])
    return tensors


def _sources(name: str, shape: Shape, kind: Kind) -> dict[str, Shape]:
    """Names and shapes of the tensors in a file that one of ours is made of."""
    full_name = f"backbone.{name}" if kind.model is VLBeit else name
    theirs = state_dict.their_name(full_name, (*BACKBONE_PAIRS, *kind.pairs))
    if ".qkv." in name:
        third = (shape[0] // 3, *shape[1:])
        return {theirs.replace(".qkv.", f".{part}_proj."): third for part in "qkv"}
    if name.endswith("image_positions"):
        return {theirs: (UNREAD_POSITIONS + shape[1], shape[2])}
    if name.endswith("text_positions"):
        return {theirs: (TEXT_POSITIONS, shape[2])}
    if name.endswith(OF_WORDS):
        return {theirs: (shape[0] + UNUSED_IDS, *shape[1:])}
    return {theirs: () if name == "log_scale" else shape}


def _laid_out(name: str, shape: Shape, tensors: Sequence[Tensor]) -> Tensor:
    """One of our tensors, of this shape, from those of `_sources`."""
    if len(tensors) > 1:
        return torch.cat(list(tensors))
    (tensor,) = tensors
    if name.endswith("positions"):
        tensor = tensor[UNREAD_POSITIONS : UNREAD_POSITIONS + shape[1]]
    elif name.endswith(OF_WORDS):
        tensor = tensor[: shape[0]]
    return tensor.reshape(shape)
