"""What a saved visual tokenizer answers; the module is a row predictor as `pipeline.tasks` has
them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.tasks.row_columns import Type

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.data.transforms.image_decoding import Source
    from pipeline.tasks.saved_model import SavedModel

MODEL = "VisualTokenizer"
INPUTS = ("image",)
OUTPUTS: dict[str, Type] = {"visual_tokens": "integers"}


def predict_row(saved: SavedModel, images: Sequence[Source], text: str | None) -> dict[str, Any]:
    """The token ids of an image's patches, row by row."""
    return {"visual_tokens": visual_tokens(saved, images)[0].tolist()} if images else {}


def visual_tokens(saved: SavedModel, images: Sequence[Source]) -> Tensor:
    """The token ids of the patches, int64 [images, patches], row by row."""
    from pipeline.tokenizers.visual_token_ids import visual_token_ids

    return visual_token_ids(saved.model, saved.pixels(images))
