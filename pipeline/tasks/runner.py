"""Fine-tuning of any task from any saved backbone, and evaluation of what came out."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from model import checkpoint
from model.backbone.config import BackboneConfig
from pipeline import tasks
from pipeline.errors import UserError
from pipeline.tasks import Folders, Item
from pipeline.tracking import client as tracking
from pipeline.training import collectives
from pipeline.training.artifacts import finish
from pipeline.training.curve_logger import log
from pipeline.training.loop import train
from pipeline.utils import files, workdir


@dataclass(frozen=True)
class Job:
    """One fine-tune, as it travels to the workers."""

    name: str  # in fine_tunes.yaml
    item: Item
    place: Path  # work folder
    init: Path  # folder of the saved model to start from
    folders: Folders
    params: Any  # the task's FineTuneParams


def run(job: Job) -> None:
    """Fine-tune, or resume it, in every worker. Worker 0 leaves the results in the work folder."""
    first = collectives.rank() == 0
    torch.manual_seed(
        job.params.seed
    )  # for the new heads: the only draws from torch's generator in the whole stage
    task = tasks.load(job.item).Task(job.params, backbone_config(job.init), job.folders)
    _start_from(task.model.backbone, job.init)
    with workdir.locked(job.place) if first else nullcontext(), _tracked(job, first) as tracked:
        train(task, job.params, job.params.loop, job.place, tracked)
        if first:
            finished, _ = finish(task.model, job.place, f"fine-tuning: {job.item.title}")
            files.write_json(finished / "params.json", asdict(job.params))  # evaluation reads them
            tracked.dataset(job.folders.shards, job.item.data, "training")
            tracked.artifact(finished / "curves.png")
            tracked.model(finished / "model", f"vl-beit-{job.name}", job.folders.text_tokenizer)


def inputs(job_init: Path, folders: Folders) -> list[Path]:
    """The files that stand for all data of a fine-tune."""
    return [
        job_init / "config.json",
        job_init / "model.safetensors",
        folders.shards / "index.json",
        folders.text_tokenizer,
    ]


def backbone_config(folder: Path) -> BackboneConfig:
    """The backbone of a saved model. Raises UserError where there is none."""
    config = files.read_json(folder / "config.json")
    if "backbone" not in config:
        raise UserError(
            f"{folder / 'config.json'}: no backbone in it; name a pretrained or fine-tuned model"
        )
    return BackboneConfig(**config["backbone"])


def _start_from(backbone: torch.nn.Module, folder: Path) -> None:
    try:
        report = checkpoint.load_backbone(backbone, folder)
    except ValueError as error:
        raise UserError(str(error)) from None
    log(f"weights from {folder}: {report}")


def _tracked(job: Job, first: bool) -> AbstractContextManager[tracking.Run]:
    if not first:
        return nullcontext(tracking.Run(None))
    return tracking.run(
        f"finetune {job.item.title}",
        stage="finetune",
        task=job.item.task,
        variant=job.item.pretraining,
        table=job.item.table,
        params=asdict(job.params),
        work=job.place,
    )


def _load(folder: Path) -> torch.nn.Module:
    try:
        return checkpoint.load(folder)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not found; run the fine-tune") from None
    except ValueError as error:
        raise UserError(f"{error}; run the fine-tune again") from None


def evaluate(
    item: Item, model: Path, folders: Folders, tuned: Any, params: Any, out: Path
) -> dict[str, Any]:
    """Test metrics of a fine-tuned model, with what was evaluated beside them; predictions go into
    `out`."""
    torch.set_num_threads(params.threads)
    module = tasks.load(item)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    result = module.evaluate(_load(model).to(device), folders, tuned, params, out)
    return {
        "task": item.task,
        "data": item.data,
        "variant": item.pretraining,
        "init": item.init,
        **result,
    }
