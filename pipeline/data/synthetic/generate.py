"""The generated official files of a source, by its name."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

from pipeline.data import datasets
from pipeline.data.datasets import facts
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.url_responses import Responder


def write(source: str, folder: Path, params: SyntheticParams) -> None:
    """Write a source's official files into the empty `folder`; of a part of a data set, those that
    it has, with as many of the same records as `params` gives the part."""
    if source == facts.whole(source):
        _writer(source).write(folder, params)
        return
    whole = facts.whole(source)
    none = dict.fromkeys(params.sizes.get(whole, ()), 0)
    sizes = params.sizes | {whole: none | params.sizes.get(source, {})}
    _writer(whole).write(folder, replace(params, sizes=sizes))
    for path in set(folder.iterdir()) - set(datasets.load(source).files(folder)):
        path.unlink()


def url_responder(source: str, params: SyntheticParams) -> Responder:
    """For cc3m and sbu: the function URL -> body of the response, None for 404."""
    return _writer(source).url_responder(params)


def _writer(source: str) -> ModuleType:
    return import_module(f"pipeline.data.synthetic.writers.{source}")
