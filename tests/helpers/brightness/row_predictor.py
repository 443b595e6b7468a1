"""What a saved brightness model answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.tasks.row_columns import Type

if TYPE_CHECKING:
    from pipeline.data.transforms.image_decoding import Source
    from pipeline.tasks.saved_model import SavedModel

MODEL = "Brightness"
INPUTS = ("image",)
OUTPUTS: dict[str, Type] = {"brightness": "number"}


def predict_row(saved: SavedModel, images: Sequence[Source], text: str | None) -> dict[str, Any]:
    """The brightness of an image, in -1..1."""
    return {"brightness": saved.model(saved.pixels(images[:1])).item()} if images else {}
