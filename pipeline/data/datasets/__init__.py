"""Data sets, one file each: where its official files are and how they are read. Loaded by name.

A source module defines:

    KIND: "image", "text", "questions", "statements" or "masks" (see `shard_rows`)
    SHARED = True                        its pictures may occur in other data sets: records carry `names`
    files(root) -> list[Path]            the official files it reads; FileNotFoundError names a missing one
    entries(root) -> Iterator[Entry]     streams what there is, in order, and `Rejected` for what is not usable
    opened(root) -> context manager      of a function entry -> iterator of records of its kind, and `Rejected`
    urls(root) -> Iterator[UrlRow]       only sources that are lists of URLs; they read what was fetched
    EXACT, ABOUT: dict[str, int]         counts that must be found, and those that are only commonly reported
    counts(root, sharded) -> dict[str, int]     what is found under the same names (see `gates`)
    listed(status) -> dict[str, (int, str)]     only sources whose publisher lists their files: sizes and SHA-1

`entries` runs once, in one process, and is cheap; decoding and parsing is for `opened`, in many
(see `reading`).
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
    known = [
        other for other in found if hasattr(importlib.import_module(f"{__name__}.{other}"), "KIND")
    ]
    raise UserError(f"unknown source {name!r} (known: {', '.join(sorted(known))})")
