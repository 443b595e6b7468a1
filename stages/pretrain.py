"""python -m stages.pretrain VARIANT: one model from texts, images and pairs."""

from pathlib import Path

from pipeline.config import params
from pipeline.data.transforms.views import ViewParams
from pipeline.orchestration.ray_train import launch
from pipeline.pretraining import requirements, variants
from pipeline.pretraining.data import DataFolders
from pipeline.pretraining.job import PretrainJob, inputs, run, work_params
from pipeline.utils import files, workdir
from pipeline.utils.entry_point import entry


def main(variant: str) -> None:
    """Read the variant's parameters, train on the workers they name, publish into
    `runs/<scale>/pretrain/<variant>`."""
    scale = params.scale()
    settings = variants.load_params(params.read(), variant)
    folders = DataFolders.of(scale)
    init = Path("runs", scale, settings.init, "model") if settings.init else None
    view_params = None
    if settings.architecture.visual_tokens == "online":
        view_params = {
            stream: params.load(ViewParams, f"visual_tokens.{stream}.view")
            for stream in ("images", "pairs")
        }
    workdir.clean()
    work_dir = workdir.folder(
        f"{scale}/pretrain/{variant}",
        {"params": work_params(settings), "views": view_params},
        inputs(folders, settings, init),
    )
    requirements.check(folders, settings)
    files.require_writable(Path("runs", scale, "pretrain"))
    job = PretrainJob(variant, work_dir, folders, settings, view_params, init)
    launch(run, job, num_workers=settings.num_workers, threads=settings.threads)
    workdir.publish(work_dir, Path("runs", scale, "pretrain", variant))


if __name__ == "__main__":
    entry(main, lambda: variants.names(params.read()))
