"""The list of evaluations, in fine_tunes.yaml and params.yaml: which model on which data set."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipeline import tasks
from pipeline.config import params
from pipeline.config.limits import Name, RunName
from pipeline.config.params import Params, convert
from pipeline.tasks import fine_tunes
from pipeline.tasks.fine_tunes import FineTune
from pipeline.tracking import client as tracking
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
        facts: dict[str, Any] = {"task": self.task, "data": self.data}
        if tune := self.fine_tune:
            return facts | {"variant": tune.pretraining, "init": tune.init}
        released = files.read_json(run / "params.json")["released"]
        return facts | {"variant": released["family"], "init": self.model, "released": released}

    def scores(self, headline: dict[str, float]) -> dict[str, float]:
        """The headline of a result in percent, by names as the columns of the tables have:
        `coco_tr_r1`; and `score`, which compares models of any task."""
        data = self.data.removesuffix("-test")  # the part of a data set that is evaluated on alone
        named = {}
        for key, value in headline.items():
            named[key if key == "score" else f"{data}_{key}"] = 100 * value
        return named

    def run_of_model(self, run_dir: Path) -> AbstractContextManager[tracking.Run]:
        """The MLflow run that made the model, whose outputs are in `run_dir`, to go on with."""
        stage = "imports" if self.is_of_released_weights else "finetune"
        return tracking.run_of(
            self.model,
            run_dir / "model",
            f"{stage.removesuffix('s')} {self.title}",
            stage=stage,
            task=self.task,
            variant=self.facts(run_dir)["variant"],
            table=self.table,
            params=files.read_json(run_dir / "params.json"),
        )

    def log(self, run: tracking.Run, name: str, model: Path, result: Path, figures: Path) -> None:
        """Log the evaluation of this name: the headline of its result, a JSON file, and figures in a
        folder; scores of the model in the folder `model` in the registry, too."""
        scores = self.scores(files.read_json(result)["headline"])
        run.metrics(scores)
        for path in (result, *sorted(figures.glob("*.png"))):
            run.artifact(path, f"evaluate/{name}")
        run.model(model, self.model, {key: f"{score:.2f}" for key, score in scores.items()})
        run.current({self.model: model})

    @property
    def fine_tune(self) -> FineTune | None:
        """That which made the model; None where it was imported."""
        kind, _, name = self.model.partition("/")
        return fine_tunes.load(name) if kind == "finetune" else None

    @property
    def is_of_released_weights(self) -> bool:
        """Whether the model was imported."""
        return self.model.startswith(IMPORT)

    @property
    def title(self) -> str:
        """As people read it."""
        return self.fine_tune.title if self.fine_tune else self.model.partition("/")[2]

    @property
    def table(self) -> str:
        """Of the paper, that shows the task."""
        if self.fine_tune:
            return self.fine_tune.table
        every = map(fine_tunes.load, fine_tunes.names())
        return next((one.table for one in every if one.task == self.task), "")


def names(own: Params | None = None) -> list[str]:
    """Names of all evaluations of a scale, by default params.yaml's."""
    return list(params.lists(own).subtree("evaluations"))


def load(name: str, own: Params | None = None) -> Evaluation:
    """An evaluation by its name. Raises UserError for a name that is none."""
    return params.listed(Evaluation, "evaluations", name, own)
