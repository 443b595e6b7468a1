"""python -m stages.evaluate NAME: test metrics of a fine-tuned model, or of released weights."""

from dataclasses import asdict
from pathlib import Path

from pipeline import tasks
from pipeline.config import params
from pipeline.tasks import evaluation, evaluations, kept_results
from pipeline.tracking import client as tracking
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
    tracked = tracking.run(
        f"evaluate {listed.title}",
        stage="evaluate",
        task=listed.task,
        variant=facts["variant"],
        table=listed.table,
        params=asdict(evaluate_params),
    )
    with tracked as run, kept as results:
        result = evaluation.evaluate(
            listed.task, model, folders, inputs, evaluate_params, predictions, results.map_of
        )
        headline = tasks.load(listed.task, "predict").headline(result)
        files.write_json(out, {"item": name, "headline": headline, **facts, **result})
        print(f"{name}: {_in_percent(headline)}")
        run.metrics(headline)
        run.dataset(folders.shards, listed.data, "evaluation")
        for path in (out, *sorted(predictions.glob("*.png"))):
            run.artifact(path)


def _in_percent(headline: dict[str, float]) -> str:
    shown = [f"{key} {100 * value:.2f}" for key, value in headline.items() if key != "score"]
    return f"{', '.join(shown)} (percent)"


if __name__ == "__main__":
    entry(main, evaluations.names)
