"""A model folder as an MLflow `pyfunc` model that can be served anywhere: with the modules that
answering takes, and the versions of all packages that it was logged with.

MLflow is imported where it is needed.
"""

import platform
import runpy
import shutil
import sys
import tempfile
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import PIL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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
    "safetensors",
    "scipy",
    "sentencepiece",
    "timm",
    "tokenizers",
    "torch",
    "torchvision",
)
BUILD = ("cuda-", "nvidia-", "triton")  # packages of a build of torch


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
        pip_requirements=list(requirements()),
    )


def card(scale: str, model: str) -> str | None:
    """The card of a model in the working directory; None where it has none, or what it tells of is
    not here."""
    export = import_module("pipeline.inference.export")  # which is above this package
    try:
        return export.description(scale, model)
    except UserError:
        return None


@cache
def requirements() -> tuple[str, ...]:
    """The packages and what they require, with the versions that are installed. A build such as
    `+cpu` is left to who serves the model, and torch itself pins the packages of its builds.

    Pillow stands for pillow-simd, which must not lie in one folder with the Pillow that torchvision
    asks for, and which not every machine can build.
    """
    pinned = {"pillow": PIL.__version__.partition(".post")[0]}
    waiting = list(PACKAGES)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in pinned or name.startswith(BUILD):
            continue
        with suppress(PackageNotFoundError):  # left out here, where nothing needs it
            pinned[name] = version(name).partition("+")[0]
            waiting += _required_by(name)
    return tuple(f"{name}=={found}" for name, found in sorted(pinned.items()))


def _required_by(package: str) -> list[str]:
    """Names of the packages that an installed one asks for on this machine, without its extras."""
    names = []
    for line in requires(package) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            names.append(requirement.name)
    return names


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
    _accept_patch_releases(Path(arguments["path"], "python_env.yaml"))


def _accept_patch_releases(environment: Path) -> None:
    """Let any Python of this minor version do: not every machine can get every patch release."""
    exact = f"python: {platform.python_version()}\n"
    minor = f"python: '{sys.version_info.major}.{sys.version_info.minor}'\n"
    environment.write_text(environment.read_text().replace(exact, minor))
