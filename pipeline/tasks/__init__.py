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

from pipeline.errors import UserError


@dataclass(frozen=True)
class Item:
    """One fine-tune of params.yaml's `items`."""

    title: str  # as people read it
    task: str  # folder in `pipeline/tasks`
    data: str  # source
    block: str  # name of its blocks `<scale>.finetune.<block>` and `<scale>.evaluate.<block>`
    variant: str  # of pretraining
    init: str  # folder in `runs/<scale>` whose backbone it starts from
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
