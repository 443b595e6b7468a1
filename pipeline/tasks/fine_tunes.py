"""The list of fine-tunes, fine_tunes.yaml: which task on which data from which model, with which
blocks of parameters."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import tasks
from pipeline.config import params
from pipeline.config.limits import Name, RunName
from pipeline.config.params import Params, convert
from pipeline.errors import UserError
from pipeline.utils import files


@dataclass(frozen=True)
class FineTune:
    """One fine-tune."""

    title: str  # as people read it
    task: Name  # folder in `pipeline/tasks`, and block of `finetune`
    data: Name  # data set, and block of `evaluate`
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

    def load_evaluate_params(self, params: Params) -> Any:
        """The task's EvaluateParams."""
        cls = tasks.load(self.task, "predict").EvaluateParams
        return params.load(cls, "evaluate.common", f"evaluate.{self.data}")

    def saved_inputs(self, run: Path) -> Any:
        """The task's InputParams as a finished run had them, whose outputs are in `run`."""
        path = run / "params.json"
        cls = tasks.load(self.task, "training.data").InputParams
        return convert(cls, files.read_json(path)["inputs"], f"{path}: inputs")


def names() -> list[str]:
    """Names of all fine-tunes."""
    return list(params.fine_tunes().subtree("fine_tunes"))


def load(name: str) -> FineTune:
    """A fine-tune by its name. Raises UserError for a name that is none."""
    if name not in names():
        known = ", ".join(names())
        raise UserError(f"{params.FINE_TUNES}: no fine-tune {name!r}; one of {known}")
    return params.fine_tunes().load(FineTune, f"fine_tunes.{name}")
