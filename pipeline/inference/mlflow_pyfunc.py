"""Saved models behind MLflow's `pyfunc`, logged as this code and a checkpoint folder: no pickle
anywhere.

A row holds encoded image bytes (`image`), a `text`, or both, and gets what its model can say of it:
the columns that the model's row predictor names (see `pipeline.tasks`).

    VisualTokenizer   visual_tokens
    MaskedModeling    image_embedding, text_embedding: the final [I_CLS] and [T_CLS]
    Retrieval         the same as unit vectors; of a pair also `similarity`, their cosine, and
                      `match`, the fusion encoder's probability that image and text belong together
    VQA               answers and probabilities: the three best ones to the question in `text`
    NLVR2             truth: the probability that `text` is true of `image`, left, and `image2`,
                      right
    Classification    classes and probabilities: the five best ones
    Segmentation      mask: rows of the class of each pixel, of the image as a square

A row with an unusable image or text, or without what its model needs, has the reason in the column
`error`, which is empty in all others: one bad row does not cost the answers to its neighbors. Where
every row lacks what the model needs, the request is at fault: MLflow's server answers with status
400.
"""

from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types.schema import Array, ColSpec, DataType, Schema
from PIL import Image

from pipeline.errors import MissingInput, UserError

ERROR = "error"  # column of the reasons


class Served(PythonModel):
    """Imports torch once it is loaded: logging it does not need that."""

    def load_context(self, context: PythonModelContext) -> None:
        from pipeline.inference.row_predictor import RowPredictor

        self._predictor = RowPredictor(Path(context.artifacts["model"]))

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """One row of answers per row of input; what a row does not have stays empty.

        Raises:
            MlflowException: no row has what the model needs.
        """
        answers, lacking = [], []
        for row in model_input.to_dict("records"):
            try:
                answers.append(self._predictor.predict(row) | {ERROR: None})
            except UserError as error:
                answers.append({ERROR: str(error)})
                lacking += [error] if isinstance(error, MissingInput) else []
        if answers and len(lacking) == len(answers):
            raise MlflowException(str(lacking[0]), error_code=INVALID_PARAMETER_VALUE)
        columns = list(dict.fromkeys(chain.from_iterable(answers)))
        cells = [[answer.get(column) for column in columns] for answer in answers]
        return pd.DataFrame(cells, columns=columns, dtype=object)  # JSON has null, but no NaN


def signature() -> ModelSignature:
    """Columns in and out; all are optional, see above."""
    from pipeline.inference.registry import row_predictors

    types: dict[str, DataType | Array] = {
        "number": DataType.double,
        "numbers": Array(DataType.double),
        "strings": Array(DataType.string),
        "integers": Array(DataType.long),
        "integer rows": Array(Array(DataType.long)),
    }
    outputs: dict[str, Any] = {ERROR: ColSpec(DataType.string, ERROR, required=False)}
    for module in row_predictors().values():
        for name, kind in module.OUTPUTS.items():
            outputs[name] = ColSpec(types[kind], name, required=False)
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(DataType.binary, "image", required=False),
                ColSpec(DataType.binary, "image2", required=False),
                ColSpec(DataType.string, "text", required=False),
            ]
        ),
        outputs=Schema(list(outputs.values())),
    )


def example() -> pd.DataFrame:
    """A gray image and a text."""
    buffer = BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(buffer, "PNG")
    return pd.DataFrame({"image": [buffer.getvalue()], "text": ["a gray square"]})


set_model(Served())  # how MLflow finds it
