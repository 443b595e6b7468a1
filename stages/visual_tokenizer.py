"""Train the visual tokenizer on image shards, or import a released one: `python -m
stages.visual_tokenizer`."""

from pathlib import Path

from pipeline.config import params
from pipeline.orchestration.ray_train import launch
from pipeline.tokenizers import vqkd_training
from pipeline.utils import files, workdir
from pipeline.utils.entry_point import entry


def main() -> None:
    """Publish `model/`, `train.csv`, `validation.csv` and `metrics.json` into
    `data/<scale>/visual_tokenizer`."""
    scale = params.scale()
    settings = vqkd_training.load_params(params.read())
    data = Path("data", scale)
    workdir.clean()
    work_dir = workdir.folder(
        f"{scale}/visual_tokenizer",
        {"params": vqkd_training.work_params(settings)},
        vqkd_training.inputs(data / "shards", settings),
    )
    vqkd_training.check(data / "shards", settings)
    files.require_writable(data)
    job = vqkd_training.VQKDJob(work_dir, data / "shards", settings)
    workers = settings.num_workers if settings.origin == "train" else 0
    launch(vqkd_training.run, job, num_workers=workers, threads=settings.threads)
    workdir.publish(work_dir, data / "visual_tokenizer")


if __name__ == "__main__":
    entry(main)
