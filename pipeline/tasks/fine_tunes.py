"""The list of fine-tunes, in fine_tunes.yaml and params.yaml: which task on which data from which
model, with which blocks of parameters."""

from dataclasses import dataclass
from typing import Any

from pipeline import tasks
from pipeline.config import params
from pipeline.config.limits import Name, RunName
from pipeline.config.params import Params


@dataclass(frozen=True)
class FineTune:
    """One fine-tune."""

    title: str  # as people read it
    task: Name  # folder in `pipeline/tasks`, and block of `finetune`
    data: Name  # data set
    params: Name  # block of `finetune`
    budget: Name  # block of `finetune`
    pretraining: Name  # variant
    init: RunName  # folder in `runs/SCALE` whose backbone it starts from
    table: Name  # of the paper, that shows it

    def blocks(self) -> tuple[str, ...]:
        """The blocks of parameters that make this fine-tune's; later ones win."""
        blocks = ("common", self.task, self.params, self.budget)
        return tuple(f"finetune.{block}" for block in blocks)

    def load_params(self, params: Params) -> Any:
        """The task's FineTuneParams."""
        cls = tasks.load(self.task, "training.task").FineTuneParams
        return params.load(cls, *self.blocks(), loop=("loop",))


def names(own: Params | None = None) -> list[str]:
    """Names of all fine-tunes of a scale, by default params.yaml's."""
    return list(params.lists(own).subtree("fine_tunes"))


def load(name: str, own: Params | None = None) -> FineTune:
    """A fine-tune by its name. Raises UserError for a name that is none."""
    return params.listed(FineTune, "fine_tunes", name, own)
