"""MLflow runs of models in the workspace that have none, as after `dvc pull`: `python -m
pipeline.inference.import_runs`.

A run has what `runs/` and `results/` tell of it: parameters, curves, scores, figures and the model. A
pretraining's parameters are those that params.yaml has now.
"""

import os
import time
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

from pipeline.config import params
from pipeline.errors import UserError
from pipeline.pretraining import job, variants
from pipeline.pretraining.data import DataFolders
from pipeline.tasks import evaluations, fine_tunes
from pipeline.tasks.evaluations import Evaluation
from pipeline.tokenizers import vqkd_training
from pipeline.tracking import client as tracking
from pipeline.tracking import registry, spool, store
from pipeline.training import curve_logger, curves
from pipeline.utils import workdir
from pipeline.utils.entry_point import entry

FIGURES = ("curves.png", "masked.png", "validation.json", "metrics.json")


def main() -> None:
    """Add the runs, and wait until MLflow has them."""
    os.chdir(workdir.root().parent)  # the store's path is relative to it
    scale = params.scale()
    models = registry.in_workspace(scale)
    if not models:
        raise UserError(f"runs/{scale}: no model; run `dvc pull` or `dvc repro` first")
    missing = _without_run(scale)
    for model in sorted(missing, key=_order):
        print(f"{model}: added", flush=True)
        _import(scale, model, models[model])
    _wait()
    print(f"{len(missing)} of {len(models)} models had no run; `make ui` shows them")


def _without_run(scale: str) -> list[str]:
    from mlflow.tracking import MlflowClient

    where = store.locate(Path.cwd(), store.chosen_uri())
    if where.artifacts and not Path(store.DATABASE).exists():
        return list(registry.in_workspace(scale))
    client = MlflowClient(where.uri)
    experiment, _ = store.find_experiment(client, store.experiment_name(scale))
    if experiment is None:
        return list(registry.in_workspace(scale))
    return registry.without_run(client, experiment, scale)


def _order(model: str) -> tuple[int, int]:
    """Models come after those that they started from, for their runs to be linked."""
    kind, _, name = model.partition("/")
    kinds = ("visual_tokenizer", "import", "pretrain", "finetune")
    listed = fine_tunes.names()
    return kinds.index(kind), listed.index(name) if name in listed else len(listed)


def _import(scale: str, model: str, folder: Path) -> None:
    kind, _, name = model.partition("/")
    made = folder.parent  # with what was published beside the model
    listed = _evaluations_of(model)
    with _run_of(model, folder, listed) as run:
        _log_training(run, made)
        if kind == "finetune" and name in fine_tunes.names():
            fine_tune = fine_tunes.load(name)
            weights = Path("runs", scale, fine_tune.init, "model", registry.WEIGHTS)
            run.dataset(Path("data", scale, "shards", fine_tune.data), fine_tune.data, "training")
            run.started_from("init", weights, fine_tune.init)
        if kind == "pretrain" and name in variants.names(params.read()):
            settings = variants.load_params(params.read(), name)
            init_folder = Path("runs", scale, settings.init, "model") if settings.init else None
            job.track_inputs(run, DataFolders.of(scale), settings, init_folder)
        if kind != "import" or listed:  # a backbone alone answers nothing
            run.model(folder, model)
            run.current({model: folder})
        for evaluation, evaluated in listed.items():
            result = Path("results", scale, "evaluate", f"{evaluation}.json")
            if result.exists():
                figures = Path("results", scale, "predictions", evaluation)
                evaluated.log(run, evaluation, folder, result, figures)


def _evaluations_of(model: str) -> dict[str, Evaluation]:
    every = {name: evaluations.load(name) for name in evaluations.names()}
    return {name: evaluation for name, evaluation in every.items() if evaluation.model == model}


def _run_of(
    model: str, folder: Path, listed: dict[str, Evaluation]
) -> AbstractContextManager[tracking.Run]:
    """The run that a model has in MLflow, with the parameters of the stage that made it."""
    kind, _, name = model.partition("/")
    if listed:
        return next(iter(listed.values())).run_of_model(folder.parent)
    if kind == "visual_tokenizer":
        settings = asdict(vqkd_training.load_params(params.read()))
        return tracking.run_of(model, folder, "visual tokenizer", stage=kind, params=settings)
    if kind == "pretrain" and name in variants.names(params.read()):
        settings = asdict(variants.load_params(params.read(), name))
        title = job.run_name(name)
        return tracking.run_of(model, folder, title, stage=kind, variant=name, params=settings)
    return tracking.run_of(model, folder, model, stage=kind, params={})


def _log_training(run: tracking.Run, made: Path) -> None:
    """Curves and figures; of a model that was not trained there are none."""
    if (made / "train.csv").exists():
        for row in curves.read_published(made):
            curve_logger.track(run, row)
    for name in FIGURES:
        if (made / name).exists():
            run.artifact(made / name)


def _wait() -> None:
    while spool.pending(spool.folder()):
        spool.start_writer()  # if it has ended early
        time.sleep(0.5)
    spool.print_messages()


if __name__ == "__main__":
    entry(main)
