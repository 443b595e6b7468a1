"""Downstream tasks, one folder each, loaded by name.

A task module `pipeline.tasks.<name>.task` has

    FineTuneParams, EvaluateParams      dataclasses of its blocks in params.yaml; the first is an `OptimParams` with
                                        `seed`, `inputs`, `loop`, `num_workers` and `threads`; all
                                        that evaluation needs of it is in `inputs`
    Task(params, backbone, folders)     what `pipeline.training.loop` trains; `model.backbone` takes over pretrained weights
    evaluate(model, folders, tuned, params, out) -> dict   test metrics; predictions and pictures go into `out`
    headline(result) -> dict            the few numbers of a result that stand for it
    class_names(folders, tuned, params) -> list   of tasks with classes: their names, none where nobody knows them
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.config import params
from pipeline.config.params import Params, convert
from pipeline.errors import UserError
from pipeline.utils import files


@dataclass(frozen=True)
class Item:
    """One fine-tune of fine_tunes.yaml."""

    title: str  # as people read it
    task: str  # folder in `pipeline/tasks`, and block of `finetune`
    data: str  # data set, and block of `evaluate`
    params: str  # block of `finetune`
    budget: str  # block of `finetune`
    pretraining: str  # variant
    init: str  # folder in `runs/SCALE` whose backbone it starts from
    table: str  # that shows it


@dataclass(frozen=True)
class Folders:
    """What a task reads."""

    shards: Path
    text_tokenizer: Path  # file

    @classmethod
    def of(cls, scale: str, item: Item) -> "Folders":
        """Those of an item, relative to the project's root."""
        data = Path("data", scale)
        return cls(data / "shards" / item.data, data / "text_tokenizer" / "spm.model")


def load(item: Item) -> ModuleType:
    """The task module of an item."""
    name = f"pipeline.tasks.{item.task}"
    if find_spec(name) is None:
        raise UserError(
            f"params.yaml: items: unknown task {item.task!r}; tasks are the folders in pipeline/tasks"
        )
    return import_module(f"{name}.task")


def items() -> list[str]:
    """Names of all fine-tunes."""
    return list(params.fine_tunes().subtree("fine_tunes"))


def item(name: str) -> Item:
    """A fine-tune by its name. Raises UserError for a name that is none."""
    if name not in items():
        raise UserError(f"{params.FINE_TUNES}: no fine-tune {name!r}; one of {', '.join(items())}")
    return params.fine_tunes().load(Item, f"fine_tunes.{name}")


def finetune_blocks(item: Item) -> tuple[str, ...]:
    """The blocks of parameters that make a fine-tune's; later ones win."""
    return tuple(f"finetune.{name}" for name in ("common", item.task, item.params, item.budget))


def finetune_params(params: Params, item: Item) -> Any:
    """The task's FineTuneParams of a fine-tune."""
    return params.load(load(item).FineTuneParams, *finetune_blocks(item), loop=("loop",))


def finetuned_params(item: Item, run: Path) -> Any:
    """The FineTuneParams that a finished fine-tune had, whose outputs are in `run`."""
    path = run / "params.json"
    return convert(load(item).FineTuneParams, files.read_json(path), str(path))


def evaluate_params(params: Params, item: Item) -> Any:
    """The task's EvaluateParams of a fine-tune."""
    return params.load(load(item).EvaluateParams, "evaluate.common", f"evaluate.{item.data}")
