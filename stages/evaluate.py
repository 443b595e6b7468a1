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
    item = params.load_shared(tasks.Item, f"items.{name}")
    module = tasks.load(item)
    tuned = params.load(module.FineTuneParams, f"finetune.{item.block}")
    chosen = params.load(module.EvaluateParams, f"evaluate.{item.data}")
    out = Path("results", scale, "evaluate", f"{name}.json")
    predictions = files.fresh_directory(Path("results", scale, "predictions", name))
    with tracking.run(
        f"evaluate {item.title}",
        stage="evaluate",
        task=item.task,
        variant=item.variant,
        table=item.table,
        params=asdict(chosen),
    ) as run:
        folders = tasks.Folders.of(scale, item)
        result = runner.evaluate(
            item,
            Path("runs", scale, "finetune", name, "model"),
            folders,
            tuned,
            chosen,
            predictions,
        )
        files.write_json(out, {"item": name, **result})
        run.metrics(module.headline(result))
        run.dataset(folders.shards, item.data, "evaluation")
        for path in (out, *sorted(predictions.glob("*.png"))):
            run.artifact(path)


if __name__ == "__main__":
    entry(main)
