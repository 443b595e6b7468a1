"""What a saved NLVR2 model answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.tasks.row_columns import Type

if TYPE_CHECKING:
    from pipeline.data.transforms.image_decoding import Source
    from pipeline.tasks.saved_model import SavedModel

MODEL = "NLVR2"
INPUTS = ("image", "image2", "text")
OUTPUTS: dict[str, Type] = {"truth": "number"}


def predict_row(saved: SavedModel, images: Sequence[Source], text: str | None) -> dict[str, Any]:
    """The probability that a text is true of two images."""
    if len(images) != 2 or text is None:
        return {}
    left, right = images
    return {"truth": truth(saved, left, right, text)}


def truth(saved: SavedModel, left: Source, right: Source, statement: str) -> float:
    """The probability, in 0..1, that a statement is true of two images."""
    from pipeline.utils import finite

    pixels = saved.pixels([left, right])[None]
    logits = finite.checked(saved.model(pixels, *saved.ids([statement])), "logits")
    return logits.softmax(dim=1)[0, 1].item()
