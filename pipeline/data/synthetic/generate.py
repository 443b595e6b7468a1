"""The door to the world: any source's official files by the source's name."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from pipeline.data.synthetic.params import SyntheticParams


def write(source: str, folder: Path, params: SyntheticParams) -> None:
    """Write a source's official files into `folder`."""
    import_module(f"pipeline.data.synthetic.writers.{source}").write(folder, params)


def images(source: str, params: SyntheticParams) -> Callable[[str], bytes | None]:
    """For cc3m and sbu: what their URLs answer. None stands for 404."""
    return import_module(f"pipeline.data.synthetic.writers.{source}").images(params)
