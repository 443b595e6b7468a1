"""Downstream tasks, one folder each, found by name: `docs/extending.md` adds one.

A folder `pipeline/tasks/<name>` has these modules, found by name. What a fine-tune imports stands
in the folder `training`, on which its DVC stage depends: an edit of the other modules re-runs no
fine-tune.

    training.task   fine-tuning
        FineTuneParams      dataclass of the blocks `finetune` of params.yaml: a
                            `pipeline.training.loop.FineTuneParams` with `inputs`, an `InputParams`
        Task(params, backbone, folders)
                            the `pipeline.training.step.Task` that is trained, with its validation;
                            its `model.backbone` takes over the pretrained weights
    training.data   samples and batches, for training and for evaluation
        InputParams         dataclass of the block `inputs`
        EvaluationInputs    dataclass of what evaluation reads of it
        COLUMNS             columns of the shards that training reads
    training.augment        augmentation, where the task has its own
    training.metrics        what validation measures, and evaluation too

    predict         evaluation of a fine-tuned model
        EvaluateParams      dataclass of the block `evaluate.<data>`
        evaluate(model, folders, inputs, params, out, maps) -> dict
                            test metrics; predictions and figures go into the folder `out`; `maps`
                            (`batch_results.BatchMaps`) runs the model over batches
        headline(result) -> dict
                            the few numbers of a result that stand for it, among them `score`
        class_names(folders, fine_tune, params) -> list
                            only of tasks with classes: their names, none where nobody knows them
    visualize       figures, which `predict` draws
    cost            what `make plan` counts
        training(params, backbone) -> (model, SampleCost)
                            the model on the meta device, and what one sample takes
        evaluation(config, inputs, params, tested) -> EvaluationCost
                            of as many test samples as there are, by a model of this `config`
    row_predictor   what a saved model answers to a row with images and text; imports neither torch
                    nor any of the above, for those who ask for columns alone
        MODEL               name of the model's class, as in config.json
        INPUTS              columns of a row that it reads: `image`, `image2`, `text`
        OUTPUTS             columns of its answers, each with its type (`row_columns.Type`)
        predict_row(saved, images, text) -> dict
                            its answer, by column; empty where the row lacks an input

The network is `model/heads/<name>.py`. What several tasks share stands beside the folders.
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from pipeline.errors import UserError
from pipeline.tokenizers import text
from pipeline.tokenizers.text.own_pieces import OwnPieces
from pipeline.utils import model_folder


@dataclass(frozen=True)
class Folders:
    """What a task reads."""

    shards: Path
    text_tokenizer: Path  # file
    class_names: tuple[str, ...] = ()  # of the model, where it brings them

    @classmethod
    def of(cls, scale: str, data: str, model: Path) -> "Folders":
        """Those of a data set, relative to the project's root, with the tokenizer file in `model`,
        a folder; a model of images alone may have none.

        Raises:
            UserError: `model` has several, or a damaged file of names.
        """
        tokenizer = text.in_folder(model) or model / OwnPieces.FILE
        shards = Path("data", scale, "shards", data)
        return cls(shards, tokenizer, model_folder.class_names(model))

    def input_files(self, model: Path) -> list[Path]:
        """The files that stand for all that is read, with those of `model`, a folder."""
        every = [model / "config.json", model / "model.safetensors", self.shards / "index.json"]
        # where no model reads texts, there may be no tokenizer
        return [*every, self.text_tokenizer] if self.text_tokenizer.exists() else every


def names() -> list[str]:
    """Names of all tasks."""
    return sorted(module.name for module in iter_modules(__path__) if module.ispkg)


def load(task: str, module: str) -> ModuleType:
    """A module of a task, one of those above, such as `training.task`.

    Raises:
        UserError: there is no such task.
    """
    if find_spec(f"{__name__}.{task}") is None:
        raise UserError(
            f"fine_tunes.yaml: unknown task {task!r}; tasks are the folders in pipeline/tasks"
        )
    return import_module(f"{__name__}.{task}.{module}")


def row_predictors() -> dict[str, ModuleType]:
    """The module `row_predictor` of every task, by the class of its models in config.json."""
    modules = [load(task, "row_predictor") for task in names()]
    return {module.MODEL: module for module in modules}
