"""python -m stages.finetune ITEM: fine-tune a pretrained backbone on one downstream task."""

from pathlib import Path

from pipeline import finetuning, params, tasks, work
from pipeline.launch import launch
from pipeline.stage import entry


def main(name: str) -> None:
    """Read the item's parameters, train on the workers they name, publish into `runs/<scale>/finetune/<item>`."""
    scale = params.scale()
    item = params.load_shared(tasks.Item, f"items.{name}")
    chosen = params.load(tasks.load(item).FineTuneParams, f"finetune.{item.block}")
    folders = tasks.Folders.of(scale, item)
    init = Path("runs", scale, item.init, "model")
    work.clean()
    place = work.folder(f"{scale}/finetune/{name}", {"item": item, "params": chosen}, finetuning.inputs(init, folders))
    job = finetuning.Job(name, item, place, init, folders, chosen)
    launch(finetuning.run, job, num_workers=chosen.num_workers, threads=chosen.threads)
    work.publish(place, Path("runs", scale, "finetune", name))


if __name__ == "__main__":
    entry(main)
