"""What a saved model of any kind answers to a row with images, a text, or both (see
`mlflow_pyfunc`)."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.data.transforms import images
from pipeline.inference import predictor


class RowPredictor:
    """Row by row: simple, and the answer to one row does not depend on the others."""

    def __init__(self, model: Path, text_tokenizer: Path | None) -> None:
        self.predictor = predictor.load(model, text_tokenizer)

    def predict(self, row: dict[str, Any]) -> dict[str, Any]:
        """The answer to one row, by column; what the row does not have is not in it."""
        columns = [name for name in ("image", "image2") if _has(row, name)]
        text = row["text"] if _has(row, "text") and self.predictor.tokenizer else None
        return self.predictor.predict_row([images.decode(row[name]) for name in columns], text)


def _has(row: dict[str, Any], name: str) -> bool:
    return name in row and not pd.isna(row[name])
