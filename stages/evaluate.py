"""python -m stages.evaluate NAME: test metrics of a fine-tuned model."""

from dataclasses import asdict
from pathlib import Path

from pipeline import tasks
from pipeline.config import params
from pipeline.tasks import evaluation, fine_tunes, kept_results
from pipeline.tracking import client as tracking
from pipeline.utils import files
from pipeline.utils.entry_point import entry


def main(name: str) -> None:
    """Evaluate; write `results/SCALE/evaluate/NAME.json` and `results/SCALE/predictions/NAME/`."""
    scale = params.scale()
    fine_tune = fine_tunes.load(name)
    run_dir = Path("runs", scale, "finetune", name)
    inputs = fine_tune.saved_inputs(run_dir)
    evaluate_params = fine_tune.load_evaluate_params(params.read())
    model = run_dir / "model"
    folders = tasks.Folders.of(scale, fine_tune.data, model)
    out = Path("results", scale, "evaluate", f"{name}.json")
    predictions = files.fresh_directory(Path("results", scale, "predictions", name))
    kept = kept_results.of_evaluation(
        f"{scale}/evaluate/{name}",
        {"inputs": inputs, "params": evaluate_params, "device": evaluation.device_type()},
        evaluation.input_files(model, folders),
        (out, predictions),
    )
    tracked = tracking.run(
        f"evaluate {fine_tune.title}",
        stage="evaluate",
        task=fine_tune.task,
        variant=fine_tune.pretraining,
        table=fine_tune.table,
        params=asdict(evaluate_params),
    )
    with tracked as run, kept as results:
        result = evaluation.evaluate(
            fine_tune, model, folders, inputs, evaluate_params, predictions, results.map_of
        )
        headline = tasks.load(fine_tune.task, "predict").headline(result)
        files.write_json(out, {"item": name, "headline": headline, **result})
        run.metrics(headline)
        run.dataset(folders.shards, fine_tune.data, "evaluation")
        for path in (out, *sorted(predictions.glob("*.png"))):
            run.artifact(path)


if __name__ == "__main__":
    entry(main, fine_tunes.names)
