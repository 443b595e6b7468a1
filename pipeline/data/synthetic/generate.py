"""The generated official files of a source, by its name."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.url_responses import Responder


def write(source: str, folder: Path, params: SyntheticParams) -> None:
    """Write a source's official files into `folder`."""
    _writer(source).write(folder, params)


def url_responder(source: str, params: SyntheticParams) -> Responder:
    """For cc3m and sbu: the function URL -> body of the response, None for 404."""
    return _writer(source).url_responder(params)


def _writer(source: str) -> ModuleType:
    return import_module(f"pipeline.data.synthetic.writers.{source}")
