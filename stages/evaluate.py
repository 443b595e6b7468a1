"""python -m stages.evaluate NAME: test metrics of a fine-tuned model, or of released weights."""

import time
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline import tasks
from pipeline.config import params
from pipeline.tasks import evaluation, evaluations, kept_results
from pipeline.tasks.evaluations import Evaluation
from pipeline.tracking import client as tracking
from pipeline.tracking import source
from pipeline.utils import files
from pipeline.utils.entry_point import entry


def main(name: str) -> None:
    """Evaluate; write `results/SCALE/evaluate/NAME.json` and `results/SCALE/predictions/NAME/`."""
    scale = params.scale()
    listed = evaluations.load(name)
    run_dir = Path("runs", scale, listed.model)
    facts, inputs = listed.facts(run_dir), listed.saved_inputs(run_dir)
    evaluate_params = listed.load_params(params.read())
    model = run_dir / "model"
    folders = tasks.Folders.of(scale, listed.data, model)
    out = Path("results", scale, "evaluate", f"{name}.json")
    predictions = files.fresh_directory(Path("results", scale, "predictions", name))
    kept = kept_results.of_evaluation(
        f"{scale}/evaluate/{name}",
        {"inputs": inputs, "params": evaluate_params, "device": evaluation.device_type()},
        folders.input_files(model),
        (out, predictions),
    )
    start = time.monotonic()
    with _tracked(listed, run_dir) as run, kept as results:
        result = evaluation.evaluate(
            listed.task, model, folders, inputs, evaluate_params, predictions, results.map_of
        )
        headline = tasks.load(listed.task, "predict").headline(result)
        files.write_json(out, {"item": name, "headline": headline, **facts, **result})
        print(f"{name}: {_in_percent(headline)}")
        scores = listed.scores(headline)
        run.metrics(scores)
        run.dataset(folders.shards, listed.data, "evaluation")
        for path in (out, *sorted(predictions.glob("*.png"))):
            run.artifact(path, f"evaluate/{name}")
        run.model(model, listed.model, {name: f"{score:.2f}" for name, score in scores.items()})
        run.tags(_tags(evaluate_params, time.monotonic() - start))


def _tracked(listed: Evaluation, run_dir: Path) -> AbstractContextManager[tracking.Run]:
    """The run that made the model."""
    stage = "imports" if listed.is_of_released_weights else "finetune"
    return tracking.run_of(
        listed.model,
        run_dir / "model",
        f"{stage.removesuffix('s')} {listed.title}",
        stage=stage,
        task=listed.task,
        variant=listed.facts(run_dir)["variant"],
        table=listed.table,
        params=files.read_json(run_dir / "params.json"),
    )


def _tags(evaluate_params: Any, seconds: float) -> dict[str, Any]:
    """How the evaluation was run. No parameters of MLflow's, which can never change: an evaluation
    may be repeated with others."""
    known = {**asdict(evaluate_params), **source.commit(), "seconds": f"{seconds:.1f}"}
    return tracking.flatten({"evaluate": known})


def _in_percent(headline: dict[str, float]) -> str:
    shown = [f"{key} {100 * value:.2f}" for key, value in headline.items() if key != "score"]
    return f"{', '.join(shown)} (percent)"


if __name__ == "__main__":
    entry(main, evaluations.names)
