"""What a saved model says of a picture, a text, or both (see `serving`)."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from model import io
from pipeline import images
from pipeline.text import TextTokenizer


class Answers:
    """Row by row: simple, and the answer for one row does not depend on the others."""

    def __init__(self, model: Path, text_tokenizer: Path | None) -> None:
        self._model = io.load(model)
        self._tokenizer = TextTokenizer.load(text_tokenizer) if text_tokenizer else None

    @torch.inference_mode()
    def of(self, row: dict[str, Any]) -> dict[str, Any]:
        """The answer to one row; what the row does not have is not in it."""
        pixels = self._pixels(row["image"]) if _given(row, "image") else None
        if pixels is not None and _given(row, "image2"):  # the right picture of a pair
            pixels = torch.cat([pixels, self._pixels(row["image2"])])
        ids = self._ids(row["text"]) if _given(row, "text") and self._tokenizer else None
        return BY_MODEL[type(self._model).__name__](self._model, pixels, ids)

    def _pixels(self, data: bytes) -> Tensor:
        config = self._model.config
        size = getattr(config, "backbone", config).image_size
        return images.normalise(torch.from_numpy(images.square(images.decode(data), size).copy())[None])

    def _ids(self, text: str) -> Tensor:
        ids = self._tokenizer.encode(text, self._model.config.backbone.text_length)
        return torch.from_numpy(ids.astype("int64"))[None]


def visual_tokens(model: nn.Module, pixels: Tensor | None, ids: Tensor | None) -> dict[str, Any]:
    """Codes of the patches, row-major."""
    return {} if pixels is None else {"visual_tokens": model.ids(pixels)[0].tolist()}


def embeddings(model: nn.Module, pixels: Tensor | None, ids: Tensor | None) -> dict[str, Any]:
    """Final-norm vectors of the two CLS tokens, each stream by itself."""
    answer = {}
    if pixels is not None:
        answer["image_embedding"] = model.backbone(pixels).image[0, 0].tolist()
    if ids is not None:
        answer["text_embedding"] = model.backbone(text=ids, text_mask=_all(ids)).text[0, 0].tolist()
    return answer


def retrieval(model: nn.Module, pixels: Tensor | None, ids: Tensor | None) -> dict[str, Any]:
    """Unit vectors, and how well a pair fits."""
    answer, image, text = {}, None, None
    if pixels is not None:
        image = model.encode_image(pixels)[0]
        answer["image_embedding"] = image.tolist()
    if ids is not None:
        text = model.encode_text(ids, _all(ids))[0]
        answer["text_embedding"] = text.tolist()
    if image is not None and text is not None:
        answer["similarity"] = (image @ text).item()
        answer["match"] = model.match_logits(pixels, ids, _all(ids)).softmax(dim=1)[0, 1].item()
    return answer


def classification(model: nn.Module, pixels: Tensor | None, ids: Tensor | None) -> dict[str, Any]:
    """The most probable classes, at most five, and their probabilities."""
    if pixels is None:
        return {}
    probabilities = model(pixels)[0].softmax(dim=0)
    best = probabilities.topk(min(5, len(probabilities)))
    return {"classes": best.indices.tolist(), "probabilities": best.values.tolist()}


def segmentation(model: nn.Module, pixels: Tensor | None, ids: Tensor | None) -> dict[str, Any]:
    """The class of each pixel, from 1, of the picture as the model sees it: rows of a square."""
    return {} if pixels is None else {"mask": (model.logits(pixels)[0].argmax(dim=0) + 1).tolist()}


def question_answers(model: nn.Module, pixels: Tensor | None, ids: Tensor | None) -> dict[str, Any]:
    """The three best answers to a question about a picture, with their probabilities."""
    if pixels is None or ids is None:
        return {}
    top = model(pixels, ids, _all(ids)).sigmoid()[0].topk(min(3, len(model.config.answers)))
    return {"answers": [model.config.answers[place] for place in top.indices.tolist()],
            "probabilities": top.values.tolist()}


def nlvr2(model: nn.Module, pixels: Tensor | None, ids: Tensor | None) -> dict[str, Any]:
    """How probable it is that the text is true of the two pictures."""
    if pixels is None or ids is None or len(pixels) != 2:
        return {}
    return {"truth": model.truth(pixels[None], ids, _all(ids)).item()}


BY_MODEL = {
    "VisualTokenizer": visual_tokens,
    "MaskedModeling": embeddings,
    "Retrieval": retrieval,
    "NLVR2": nlvr2,
    "Segmentation": segmentation,
    "VQA": question_answers,
    "Classification": classification,
}


def _given(row: dict[str, Any], name: str) -> bool:
    return name in row and not pd.isna(row[name])


def _all(ids: Tensor) -> Tensor:
    return torch.ones_like(ids, dtype=torch.bool)
