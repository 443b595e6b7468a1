"""python -m stages.finetune NAME: fine-tune a pretrained backbone on one downstream task."""

import sys
from pathlib import Path

from pipeline import tasks
from pipeline.config import params
from pipeline.data.loading.requirements import require_split
from pipeline.errors import UserError
from pipeline.orchestration.ray_train import launch
from pipeline.tasks import fine_tunes, runner
from pipeline.tasks.fine_tunes import FineTune
from pipeline.utils import files, workdir
from pipeline.utils.entry_point import entry


def main(name: str) -> None:
    """Read the fine-tune's parameters, train on the workers they name, publish into
    `runs/SCALE/finetune/NAME`."""
    scale = params.scale()
    fine_tune = fine_tunes.load(name)
    fine_tune_params = fine_tune.load_params(params.read())
    init = Path("runs", scale, fine_tune.init, "model")
    folders = tasks.Folders.of(scale, fine_tune.data, init)
    workdir.clean()
    work_dir = workdir.folder(
        f"{scale}/finetune/{name}",
        {"item": fine_tune, "params": fine_tune_params},
        folders.input_files(init),
    )
    job = runner.FineTuneJob(name, fine_tune, work_dir, init, folders, fine_tune_params)
    runner.check(job)
    files.require_writable(Path("runs", scale, "finetune"))
    _warn_of_evaluation(fine_tune, folders)
    workers, threads = fine_tune_params.num_workers, fine_tune_params.threads
    launch(runner.run, job, num_workers=workers, threads=threads)
    workdir.publish(work_dir, Path("runs", scale, "finetune", name))


def _warn_of_evaluation(fine_tune: FineTune, folders: tasks.Folders) -> None:
    """Say before training where the evaluation will have nothing to evaluate on."""
    key = f"evaluate.{fine_tune.data}"
    split = params.subtree(key).get("split", "test")
    try:
        require_split(folders.shards, split, f"params.yaml: {key}.split")
    except UserError as error:
        print(f"warning: evaluation will stop: {error}", file=sys.stderr)


if __name__ == "__main__":
    entry(main, fine_tunes.names)
