"""The list of evaluations, in fine_tunes.yaml and params.yaml: which model on which data set."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipeline import tasks
from pipeline.config import params
from pipeline.config.limits import Name, RunName
from pipeline.config.params import Params, convert
from pipeline.errors import UserError
from pipeline.tasks import fine_tunes
from pipeline.utils import files

IMPORT = "import/"  # what the folders of released weights begin with


@dataclass(frozen=True)
class Evaluation:
    """One evaluation."""

    task: Name  # folder in `pipeline/tasks`
    data: Name  # data set, and block of `evaluate`
    model: RunName  # folder in `runs/SCALE`

    def load_params(self, params: Params) -> Any:
        """The task's EvaluateParams."""
        cls = tasks.load(self.task, "predict").EvaluateParams
        return params.load(cls, "evaluate.common", f"evaluate.{self.data}")

    def saved_inputs(self, run: Path) -> Any:
        """The task's EvaluationInputs as the run had them that made the model, whose outputs are in
        `run`."""
        path = run / "params.json"
        cls = tasks.load(self.task, "training.data").EvaluationInputs
        known = {field.name for field in fields(cls)}
        saved = files.read_json(path)["inputs"]
        read = {name: value for name, value in saved.items() if name in known}
        return convert(cls, read, f"{path}: inputs")

    def facts(self, run: Path) -> dict[str, Any]:
        """What a result says of the model: which pretraining it comes from (`variant`), what its
        training started from, and of released weights the file."""
        kind, _, name = self.model.partition("/")
        facts: dict[str, Any] = {"task": self.task, "data": self.data}
        if kind == "finetune":
            fine_tune = fine_tunes.load(name)
            return facts | {"variant": fine_tune.pretraining, "init": fine_tune.init}
        released = files.read_json(run / "params.json")["released"]
        return facts | {"variant": released["family"], "init": self.model, "released": released}

    @property
    def is_of_released_weights(self) -> bool:
        """Whether the model was imported."""
        return self.model.startswith(IMPORT)

    @property
    def title(self) -> str:
        """As people read it."""
        kind, _, name = self.model.partition("/")
        return fine_tunes.load(name).title if kind == "finetune" else name

    @property
    def table(self) -> str:
        """Of the paper, that shows the task."""
        kind, _, name = self.model.partition("/")
        if kind == "finetune":
            return fine_tunes.load(name).table
        every = map(fine_tunes.load, fine_tunes.names())
        return next((one.table for one in every if one.task == self.task), "")


def names(own: Params | None = None) -> list[str]:
    """Names of all evaluations of a scale, by default params.yaml's."""
    return list(params.lists(own).subtree("evaluations"))


def load(name: str, own: Params | None = None) -> Evaluation:
    """An evaluation by its name. Raises UserError for a name that is none."""
    lists = params.lists(own)
    known = lists.subtree("evaluations")
    if name not in known:
        raise UserError(f"{lists.file}: no evaluation {name!r}; one of {', '.join(known)}")
    return lists.load(Evaluation, f"evaluations.{name}")
