"""What a saved model of any kind answers to a row with images, a text, or both (see
`mlflow_pyfunc`)."""

from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from pipeline.data.transforms import image_decoding
from pipeline.data.transforms.image_decoding import BadImage
from pipeline.errors import MissingInput, UserError
from pipeline.inference import predictor
from pipeline.inference.registry import row_predictors

_IMAGES = ("image", "image2")


class RowPredictor:
    """Row by row: simple, and the answer to one row does not depend on the others."""

    def __init__(self, model: Path) -> None:
        self.predictor = predictor.load(model)

    def predict(self, row: dict[str, Any]) -> dict[str, Any]:
        """The answer to one row, by column; what the row does not have is not in it.

        Raises:
            MissingInput: the row has nothing that the model could answer to.
            UserError: an image or the text is unusable; the message names the column.
        """
        images = [_image(name, row[name]) for name in _IMAGES if _has(row, name)]
        text = row["text"] if _has(row, "text") and self.predictor.tokenizer else None
        answer = self.predictor.predict_row(images, text)
        if not answer:
            raise MissingInput(self._needs(row))
        return answer

    def _needs(self, row: dict[str, Any]) -> str:
        """What the model reads, beside what it is given."""
        model = type(self.predictor.model).__name__
        columns = row_predictors()[model].INPUTS
        given = [name for name in columns if _has(row, name)]
        return (
            f"a model of the kind {model} reads {', '.join(columns)}; "
            f"given: {', '.join(given) or 'none of them'}"
        )


def _has(row: dict[str, Any], name: str) -> bool:
    """Whether a column is there and not empty, as pandas has it: None, NaN or NA."""
    value = row.get(name)
    return not (pd.api.types.is_scalar(value) and pd.isna(value))


def _image(name: str, data: Any) -> Image.Image:
    if not isinstance(data, bytes):  # a path would be one on the server
        raise UserError(f"{name}: expected the bytes of a file, found {type(data).__name__}")
    try:
        return image_decoding.read(data)
    except BadImage as error:
        raise UserError(f"{name}: {error}") from None
