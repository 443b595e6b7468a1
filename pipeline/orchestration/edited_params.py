"""params.yaml with other values for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.config import params


@contextmanager
def edited(edit: Callable[[Any], None]) -> Iterator[None]:
    """Let `edit` change the tree of params.yaml, whose comments stay; at the end the file is as it
    was, byte by byte."""
    from dvc.utils.serialize import modify_yaml

    before = params.FILE.read_bytes()
    try:
        with modify_yaml(params.FILE) as tree:
            edit(tree)
        yield
    finally:
        params.FILE.write_bytes(before)
