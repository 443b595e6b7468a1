"""python -m stages.finetune ITEM: fine-tune a pretrained backbone on one downstream task."""

from pathlib import Path

from pipeline import tasks
from pipeline.config import params
from pipeline.orchestration.ray_train import launch
from pipeline.tasks import runner
from pipeline.utils import workdir
from pipeline.utils.entry_point import entry


def main(name: str) -> None:
    """Read the item's parameters, train on the workers they name, publish into
    `runs/<scale>/finetune/<item>`."""
    scale = params.scale()
    item = tasks.item(name)
    chosen = tasks.finetune_params(params.read(), item)
    folders = tasks.Folders.of(scale, item)
    init = Path("runs", scale, item.init, "model")
    workdir.clean()
    work_dir = workdir.folder(
        f"{scale}/finetune/{name}", {"item": item, "params": chosen}, runner.inputs(init, folders)
    )
    job = runner.Job(name, item, work_dir, init, folders, chosen)
    launch(runner.run, job, num_workers=chosen.num_workers, threads=chosen.threads)
    workdir.publish(work_dir, Path("runs", scale, "finetune", name))


if __name__ == "__main__":
    entry(main)
