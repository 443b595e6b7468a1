"""python -m stages.evaluate ITEM: test metrics of a fine-tuned model."""

from dataclasses import asdict
from pathlib import Path

from pipeline import tasks
from pipeline.config import params
from pipeline.tasks import runner
from pipeline.tracking import client as tracking
from pipeline.utils import files
from pipeline.utils.entry_point import entry


def main(name: str) -> None:
    """Evaluate; write `results/<scale>/evaluate/<item>.json` and
    `results/<scale>/predictions/<item>/`."""
    scale = params.scale()
    item = tasks.item(name)
    module = tasks.load(item)
    run_dir = Path("runs", scale, "finetune", name)
    tuned = tasks.finetuned_params(item, run_dir)
    chosen = tasks.evaluate_params(params.read(), item)
    out = Path("results", scale, "evaluate", f"{name}.json")
    predictions = files.fresh_directory(Path("results", scale, "predictions", name))
    with tracking.run(
        f"evaluate {item.title}",
        stage="evaluate",
        task=item.task,
        variant=item.pretraining,
        table=item.table,
        params=asdict(chosen),
    ) as run:
        folders = tasks.Folders.of(scale, item)
        result = runner.evaluate(
            item,
            run_dir / "model",
            folders,
            tuned,
            chosen,
            predictions,
        )
        headline = module.headline(result)
        files.write_json(out, {"item": name, "headline": headline, **result})
        run.metrics(headline)
        run.dataset(folders.shards, item.data, "evaluation")
        for path in (out, *sorted(predictions.glob("*.png"))):
            run.artifact(path)


if __name__ == "__main__":
    entry(main)
