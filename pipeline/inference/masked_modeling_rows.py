"""What a saved pretrained model answers; the module is a row predictor as `pipeline.tasks` has
them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.tasks.row_columns import Type

if TYPE_CHECKING:
    from torch import Tensor

    from model.pretraining.batches import ImageBatch, TextBatch
    from pipeline.data.transforms.image_decoding import Source
    from pipeline.tasks.saved_model import SavedModel

MODEL = "MaskedModeling"
INPUTS = ("image", "text")
OUTPUTS: dict[str, Type] = {"image_embedding": "numbers", "text_embedding": "numbers"}


def predict_row(saved: SavedModel, images: Sequence[Source], text: str | None) -> dict[str, Any]:
    """[I_CLS] of an image and [T_CLS] of a text, each encoded by itself."""
    answer: dict[str, Any] = {}
    if images:
        answer["image_embedding"] = image_features(saved, images)[0].tolist()
    if text is not None:
        answer["text_embedding"] = text_features(saved, [text])[0].tolist()
    return answer


def image_features(saved: SavedModel, images: Sequence[Source]) -> Tensor:
    """[I_CLS] of each image, [images, embed_dim] fp32."""
    return saved.model.backbone.cls(saved.pixels(images))


def text_features(saved: SavedModel, texts: Sequence[str]) -> Tensor:
    """[T_CLS] of each text, [texts, embed_dim] fp32."""
    ids, mask = saved.ids(texts)
    return saved.model.backbone.cls(text=ids, text_mask=mask)


def masked_logits(
    saved: SavedModel,
    image: tuple[Source, Tensor] | None,
    text: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor | None, Tensor | None]:
    """What the model predicts at masked positions: logits [n, vocab_size] of text tokens, and [m,
    codebook_size] of patches, None of what is not given. Both given are read at once.

    Args:
        image: an image, and which of its patches are masked, bool [patches].
        text: the ids of a text with those of the masked tokens replaced, int64 [length], and which
            are masked, bool [length].
    """
    model, device = saved.model, next(saved.model.parameters()).device
    patches = None if image is None else _image_batch(saved.pixels([image[0]]), image[1].to(device))
    tokens = None if text is None else _text_batch(text[0].to(device), text[1].to(device))
    if patches is None:
        return (None if tokens is None else model.mlm(tokens)), None
    if tokens is None:
        return None, model.mim(patches)
    return model.mvlm(tokens, patches)


def _image_batch(pixels: Tensor, masked: Tensor) -> ImageBatch:
    from model.pretraining.batches import ImageBatch

    return ImageBatch(pixels, masked[None], masked.nonzero()[:, 0], targets=None)


def _text_batch(ids: Tensor, masked: Tensor) -> TextBatch:
    """Of one text. Prediction reads no targets, which are not known here."""
    from model.pretraining.batches import TextBatch

    positions = masked.nonzero()[:, 0]
    return TextBatch(ids[None], None, positions, targets=ids[positions])
