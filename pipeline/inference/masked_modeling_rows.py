"""What a saved pretrained model answers; the module is a row predictor as `pipeline.tasks` has
them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.tasks.row_columns import Type

if TYPE_CHECKING:
    from torch import Tensor

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
