"""python -m stages.evaluate NAME: test metrics of a fine-tuned model, or of released weights."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline import tasks
from pipeline.config import params
from pipeline.tasks import evaluation, evaluations, kept_results
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
    with listed.run_of_model(run_dir) as run, kept as results:
        result = evaluation.evaluate(
            listed.task, model, folders, inputs, evaluate_params, predictions, results.map_of
        )
        headline = tasks.load(listed.task, "predict").headline(result)
        files.write_json(out, {"item": name, "headline": headline, **facts, **result})
        print(f"{name}: {_in_percent(headline)}")
        run.dataset(folders.shards, listed.data, "evaluation")
        listed.log(run, name, model, out, predictions)
        run.tags(_tags(evaluate_params, time.monotonic() - start))


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
