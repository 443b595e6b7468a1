"""python -m stages.finetune NAME: fine-tune a pretrained backbone on one downstream task."""

from pathlib import Path

from pipeline import tasks
from pipeline.config import params
from pipeline.orchestration.ray_train import launch
from pipeline.tasks import fine_tunes, runner
from pipeline.utils import workdir
from pipeline.utils.entry_point import entry


def main(name: str) -> None:
    """Read the fine-tune's parameters, train on the workers they name, publish into
    `runs/SCALE/finetune/NAME`."""
    scale = params.scale()
    fine_tune = fine_tunes.load(name)
    fine_tune_params = fine_tune.load_params(params.read())
    folders = tasks.Folders.of(scale, fine_tune.data)
    init = Path("runs", scale, fine_tune.init, "model")
    workdir.clean()
    work_dir = workdir.folder(
        f"{scale}/finetune/{name}",
        {"item": fine_tune, "params": fine_tune_params},
        runner.inputs(init, folders),
    )
    job = runner.FineTuneJob(name, fine_tune, work_dir, init, folders, fine_tune_params)
    workers, threads = fine_tune_params.num_workers, fine_tune_params.threads
    launch(runner.run, job, num_workers=workers, threads=threads)
    workdir.publish(work_dir, Path("runs", scale, "finetune", name))


if __name__ == "__main__":
    entry(main, fine_tunes.names)
