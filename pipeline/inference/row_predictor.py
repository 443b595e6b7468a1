"""What a saved model says of a row with a picture, a text, or both (see `serving`)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from pipeline.data.transforms import images
from pipeline.inference import predictor
from pipeline.inference.predictor import Loaded, Ranked

Pictures = list[Image.Image]  # none, one, or the left and the right one of a pair


class Answers:
    """Row by row: simple, and the answer for one row does not depend on the others."""

    def __init__(self, model: Path, text_tokenizer: Path | None) -> None:
        self.loaded = predictor.load(model, text_tokenizer)

    def of(self, row: dict[str, Any]) -> dict[str, Any]:
        """The answer to one row; what the row does not have is not in it."""
        pictures = [images.decode(row[name]) for name in ("image", "image2") if _given(row, name)]
        text = row["text"] if _given(row, "text") and self.loaded.tokenizer else None
        return BY_MODEL[type(self.loaded.model).__name__](self.loaded, pictures, text)


def visual_tokens(loaded: Loaded, pictures: Pictures, text: str | None) -> dict[str, Any]:
    """Codes of the patches, row-major."""
    return {"visual_tokens": loaded.visual_tokens(pictures)[0].tolist()} if pictures else {}


def embeddings(loaded: Loaded, pictures: Pictures, text: str | None) -> dict[str, Any]:
    """One vector for each stream by itself."""
    answer = {}
    if pictures:
        answer["image_embedding"] = loaded.image_features(pictures)[0].tolist()
    if text is not None:
        answer["text_embedding"] = loaded.text_features([text])[0].tolist()
    return answer


def retrieval(loaded: Loaded, pictures: Pictures, text: str | None) -> dict[str, Any]:
    """Unit vectors, and how well a pair fits."""
    answer = embeddings(loaded, pictures, text)
    if pictures and text is not None:
        answer["similarity"] = loaded.similarity(pictures, [text])[0, 0].item()
        answer["match"] = loaded.match(pictures[:1], [text])[0].item()
    return answer


def classification(loaded: Loaded, pictures: Pictures, text: str | None) -> dict[str, Any]:
    """The most probable classes, at most five, and their probabilities."""
    return _columns("classes", loaded.classify(pictures[0])) if pictures else {}


def segmentation(loaded: Loaded, pictures: Pictures, text: str | None) -> dict[str, Any]:
    """The class of each pixel, from 1, of the picture as the model sees it: rows of a square."""
    return {"mask": loaded.segment(pictures[0]).tolist()} if pictures else {}


def question_answers(loaded: Loaded, pictures: Pictures, text: str | None) -> dict[str, Any]:
    """The three best answers to a question about a picture, with their probabilities."""
    return (
        _columns("answers", loaded.answers(pictures[0], text))
        if pictures and text is not None
        else {}
    )


def nlvr2(loaded: Loaded, pictures: Pictures, text: str | None) -> dict[str, Any]:
    """How probable it is that the text is true of the two pictures."""
    return (
        {"truth": loaded.truth(*pictures, text)} if len(pictures) == 2 and text is not None else {}
    )


BY_MODEL: dict[str, Callable[[Loaded, Pictures, str | None], dict[str, Any]]] = {
    "VisualTokenizer": visual_tokens,
    "MaskedModeling": embeddings,
    "Retrieval": retrieval,
    "NLVR2": nlvr2,
    "Segmentation": segmentation,
    "VQA": question_answers,
    "Classification": classification,
}


def _columns(name: str, ranked: Ranked) -> dict[str, Any]:
    return {name: [word for word, _ in ranked], "probabilities": [value for _, value in ranked]}


def _given(row: dict[str, Any], name: str) -> bool:
    return name in row and not pd.isna(row[name])
