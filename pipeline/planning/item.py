"""The stages that one DVC item takes: it, and what it depends on."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

from pipeline.errors import UserError


def needed(item: str) -> list[str]:
    """Names of the stages that `dvc repro ITEM` looks at, in an order in which they can run.

    Raises:
        UserError: there is no such item at the scale of params.yaml.
    """
    stages = _stages()
    if item not in stages:
        near = get_close_matches(item, stages, 5, 0.5) or sorted(stages)[:5]
        raise UserError(f"plan: no item {item!r}; near: {', '.join(near)}")
    makers: dict[str, str] = {}
    for name, stage in stages.items():
        makers |= {out.fs_path: name for out in stage.outs}
    found: dict[str, None] = {}
    _visit(item, stages, makers, found)
    return list(found)


def _visit(
    name: str, stages: dict[str, Any], makers: dict[str, str], found: dict[str, None]
) -> None:
    """Add what a stage depends on, then the stage, to `found`."""
    if name in found:
        return
    for dep in stages[name].deps:
        for maker in _makers_of(dep.fs_path, makers):
            _visit(maker, stages, makers, found)
    found[name] = None


def _makers_of(path: str, makers: dict[str, str]) -> Collection[str]:
    """The stages of a path, or of paths in it: `table` depends on folders of results."""
    if path in makers:
        return [makers[path]]
    return [maker for out, maker in makers.items() if out.startswith(f"{path}/")]


def _stages() -> dict[str, Any]:
    """All stages of dvc.yaml at the scale of params.yaml, by name."""
    from dvc.repo import Repo  # a second, which the whole plan does not need

    return {stage.addressing: stage for stage in Repo().index.stages}
