"""What a saved classifier answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.tasks.row_columns import Ranked, Type, ranked_columns

if TYPE_CHECKING:
    from pipeline.data.transforms.image_decoding import Source
    from pipeline.tasks.saved_model import SavedModel

MODEL = "Classification"
INPUTS = ("image",)
OUTPUTS: dict[str, Type] = {"classes": "strings", "probabilities": "numbers"}


def predict_row(saved: SavedModel, images: Sequence[Source], text: str | None) -> dict[str, Any]:
    """The most probable classes, at most five, and their probabilities."""
    return ranked_columns("classes", classify(saved, images[0])) if images else {}


def classify(saved: SavedModel, image: Source, best: int = 5) -> Ranked:
    """The most probable classes; numbers from 0 where they have no names."""
    from pipeline.tasks.saved_model import ranked

    names = saved.classes or [str(number) for number in range(saved.model.config.classes)]
    logits = saved.model(saved.pixels([image]))[0]
    return ranked(logits, logits.softmax(dim=0), names, best)
