"""What a saved VQA model answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.tasks.row_columns import Ranked, Type, ranked_columns

if TYPE_CHECKING:
    from pipeline.data.transforms.image_decoding import Source
    from pipeline.tasks.saved_model import SavedModel

MODEL = "VQA"
INPUTS = ("image", "text")
OUTPUTS: dict[str, Type] = {"answers": "strings", "probabilities": "numbers"}


def predict_row(saved: SavedModel, images: Sequence[Source], text: str | None) -> dict[str, Any]:
    """The three best answers to a question about an image, with their probabilities."""
    if not images or text is None:
        return {}
    return ranked_columns("answers", answers(saved, images[0], text))


def answers(saved: SavedModel, image: Source, question: str, best: int = 3) -> Ranked:
    """The best answers to a question about an image."""
    from pipeline.tasks.saved_model import ranked

    logits = saved.model(saved.pixels([image]), *saved.ids([question]))[0]
    return ranked(logits, logits.sigmoid(), saved.model.config.answers, best)
