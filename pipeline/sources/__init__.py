"""Data sets, one file each: where its official files are and how they are read. Loaded by name.

A source module defines:

    KIND: "image", "text", "questions", "statements" or "masks" (see `shard_rows`)
    files(root) -> list[Path]            the official files it reads; FileNotFoundError names a missing one
    read(root) -> Iterator[record]       streams the records of its kind, and `Rejected` for the unusable
    urls(root) -> Iterator[UrlRow]       only sources that are lists of URLs; their `read` reads what was fetched
"""

import importlib
import pkgutil
from types import ModuleType

from pipeline.errors import UserError


def load(name: str) -> ModuleType:
    """The module of a source. Raises UserError for a name that is none."""
    if name in (found := [module.name for module in pkgutil.iter_modules(__path__)]):
        module = importlib.import_module(f"{__name__}.{name}")
        if hasattr(module, "KIND"):
            return module
    known = [other for other in found if hasattr(importlib.import_module(f"{__name__}.{other}"), "KIND")]
    raise UserError(f"unknown source {name!r} (known: {', '.join(sorted(known))})")
