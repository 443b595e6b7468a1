"""Saved models behind MLflow's `pyfunc`, logged as this code and a checkpoint folder: no pickle anywhere.

A row holds encoded picture bytes (`image`), a `text`, or both, and gets what its model can say of it:

    VisualTokenizer   visual_tokens
    MaskedModeling    image_embedding, text_embedding: the final [I_CLS] and [T_CLS]
    Retrieval         the same as unit vectors; of a pair also `similarity`, their cosine, and `match`, the
                      fusion encoder's probability that picture and text belong together
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types.schema import Array, ColSpec, DataType, Schema
from PIL import Image
from torch import Tensor, nn

from model import io
from pipeline import images
from pipeline.text import TextTokenizer


class Served(PythonModel):
    """Row by row: simple, and the answer for one row does not depend on the others."""

    def load_context(self, context: PythonModelContext) -> None:
        self._model = io.load(Path(context.artifacts["model"]))
        words = context.artifacts.get("text_tokenizer")
        self._tokenizer = TextTokenizer.load(Path(words)) if words else None

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame,
                params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row of answers per row of input; what a row does not have stays empty."""
        with torch.inference_mode():
            return pd.DataFrame([self._answer(row) for row in model_input.to_dict("records")])

    def _answer(self, row: dict[str, Any]) -> dict[str, Any]:
        pixels = self._pixels(row["image"]) if _given(row, "image") else None
        ids = self._ids(row["text"]) if _given(row, "text") and self._tokenizer else None
        return ANSWERS[type(self._model).__name__](self._model, pixels, ids)

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


ANSWERS = {"VisualTokenizer": visual_tokens, "MaskedModeling": embeddings, "Retrieval": retrieval}


def signature() -> ModelSignature:
    """Columns in and out; all are optional, see above."""
    numbers = Array(DataType.double)
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image", required=False),
                       ColSpec(DataType.string, "text", required=False)]),
        outputs=Schema([ColSpec(Array(DataType.long), "visual_tokens", required=False),
                        ColSpec(numbers, "image_embedding", required=False),
                        ColSpec(numbers, "text_embedding", required=False),
                        ColSpec(DataType.double, "similarity", required=False),
                        ColSpec(DataType.double, "match", required=False)]))


def example() -> pd.DataFrame:
    """A grey picture and a text."""
    buffer = BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(buffer, "PNG")
    return pd.DataFrame({"image": [buffer.getvalue()], "text": ["a grey square"]})


def _given(row: dict[str, Any], name: str) -> bool:
    return name in row and not pd.isna(row[name])


def _all(ids: Tensor) -> Tensor:
    return torch.ones_like(ids, dtype=torch.bool)


set_model(Served())  # how MLflow finds it
