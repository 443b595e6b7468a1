"""What a saved segmentation model answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.tasks.row_columns import Type

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.data.transforms.image_decoding import Source
    from pipeline.tasks.saved_model import SavedModel

MODEL = "Segmentation"
INPUTS = ("image",)
OUTPUTS: dict[str, Type] = {"mask": "integer rows"}


def predict_row(saved: SavedModel, images: Sequence[Source], text: str | None) -> dict[str, Any]:
    """The class of each pixel, from 1, of the image as the model sees it: rows of a square."""
    return {"mask": segment(saved, images[0]).tolist()} if images else {}


def segment(saved: SavedModel, image: Source) -> Tensor:
    """The class of each pixel, from 1, int64 [size, size], of the image as the model sees it: a
    square."""
    from pipeline.utils import finite

    logits = finite.checked(saved.model.logits(saved.pixels([image])), "logits of the classes")
    return logits[0].argmax(dim=0) + 1
