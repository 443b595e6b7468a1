"""Saved models behind MLflow's `pyfunc`, logged as this code and a checkpoint folder: no pickle
anywhere.

A row holds encoded picture bytes (`image`), a `text`, or both, and gets what its model can say of
it (see `use`):

    VisualTokenizer   visual_tokens
    MaskedModeling    image_embedding, text_embedding: the final [I_CLS] and [T_CLS]
    Retrieval         the same as unit vectors; of a pair also `similarity`, their cosine, and `match`, the
                      fusion encoder's probability that picture and text belong together
    VQA               answers and probabilities: the three best ones to the question in `text`
    NLVR2             truth: the probability that `text` is true of `image`, left, and `image2`, right
    Classification    classes and probabilities: the five best ones
    Segmentation      mask: rows of the class of each pixel, of the picture as a square
"""

from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import ModelSignature, set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types.schema import Array, ColSpec, DataType, Schema
from PIL import Image


class Served(PythonModel):
    """Imports torch once it is loaded: logging it does not need that."""

    def load_context(self, context: PythonModelContext) -> None:
        from pipeline.inference.row_predictor import Answers

        words = context.artifacts.get("text_tokenizer")
        self._answers = Answers(Path(context.artifacts["model"]), Path(words) if words else None)

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """One row of answers per row of input; what a row does not have stays empty."""
        return pd.DataFrame([self._answers.of(row) for row in model_input.to_dict("records")])


def signature() -> ModelSignature:
    """Columns in and out; all are optional, see above."""
    numbers = Array(DataType.double)
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(DataType.binary, "image", required=False),
                ColSpec(DataType.binary, "image2", required=False),
                ColSpec(DataType.string, "text", required=False),
            ]
        ),
        outputs=Schema(
            [
                ColSpec(Array(DataType.long), "visual_tokens", required=False),
                ColSpec(numbers, "image_embedding", required=False),
                ColSpec(numbers, "text_embedding", required=False),
                ColSpec(DataType.double, "similarity", required=False),
                ColSpec(DataType.double, "match", required=False),
                ColSpec(Array(DataType.string), "answers", required=False),
                ColSpec(Array(DataType.string), "classes", required=False),
                ColSpec(numbers, "probabilities", required=False),
                ColSpec(DataType.double, "truth", required=False),
                ColSpec(Array(Array(DataType.long)), "mask", required=False),
            ]
        ),
    )


def example() -> pd.DataFrame:
    """A grey picture and a text."""
    buffer = BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(buffer, "PNG")
    return pd.DataFrame({"image": [buffer.getvalue()], "text": ["a grey square"]})


set_model(Served())  # how MLflow finds it
