"""A model folder as an MLflow `pyfunc` model that can be served anywhere: with the modules that
answering takes, and the versions of the packages that it was logged with.

MLflow is imported where it is needed.
"""

import runpy
import shutil
import tempfile
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.tracking import spool

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo

PYFUNC = "pipeline/inference/mlflow_pyfunc.py"
CLOSURE = "pipeline/inference/closure.py"
PACKAGES = (
    "mlflow",
    "numpy",
    "pandas",
    "pillow-simd",
    "safetensors",
    "scipy",
    "sentencepiece",
    "timm",
    "tokenizers",
    "torch",
    "torchvision",
)


def log(folder: Path, run_id: str, name: str) -> "ModelInfo":
    """Log a model folder with a run of the active experiment, and register it as `name`.

    The model is logged from code, so that no pickle is involved.
    """
    from mlflow.models import Model

    code = _code()
    functions = runpy.run_path(str(spool.CODE / PYFUNC))
    return Model.log(
        artifact_path=None,
        name="model",
        run_id=run_id,
        flavor=SimpleNamespace(save_model=_save),
        registered_model_name=name,
        validate_serving_input=False,
        python_model=str(spool.CODE / PYFUNC),
        artifacts={"model": folder.as_uri()},
        code_paths=[str(code / "model"), str(code / "pipeline")],
        signature=functions["signature"](),
        input_example=functions["example"](),
        pip_requirements=requirements(),
    )


def card(scale: str, model: str) -> str | None:
    """The card of a model in the working directory; None where it has none, or what it tells of is
    not here."""
    export = import_module("pipeline.inference.export")  # which is above this package
    try:
        return export.description(scale, model)
    except UserError:
        return None


def requirements() -> list[str]:
    """The packages, with the versions that are installed."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in PACKAGES]


@cache
def _code() -> Path:
    """A folder with the modules that the model imports, as MLflow copies it: made once, removed when
    this process ends."""
    code = Path(_temporary().name)
    files = runpy.run_path(str(spool.CODE / CLOSURE))["files"]
    for name in files(spool.CODE, "pipeline.inference.mlflow_pyfunc"):
        target = code / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(spool.CODE / name, target)
    return code


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="vl-beit-code-")


def _save(validate_serving_input: bool, **arguments: Any) -> None:
    """As a `pyfunc` model, whose own `log_model` would load torch and the model to try the
    example."""
    from mlflow import pyfunc

    pyfunc.save_model(**arguments)
