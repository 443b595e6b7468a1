"""Fine-tuning of any task from any saved backbone."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from model import checkpoint
from model.backbone.config import BackboneConfig
from pipeline import tasks
from pipeline.data.loading.requirements import require_split
from pipeline.data.shards import parquet
from pipeline.errors import UserError
from pipeline.tasks import Folders
from pipeline.tasks.fine_tunes import FineTune
from pipeline.tokenizers import text
from pipeline.tracking import client as tracking
from pipeline.training import collectives
from pipeline.training.artifacts import finish
from pipeline.training.curve_logger import log
from pipeline.training.loop import train
from pipeline.utils import files, workdir


@dataclass(frozen=True)
class FineTuneJob:
    """One fine-tune, as it travels to the workers."""

    name: str  # in fine_tunes.yaml
    fine_tune: FineTune
    work_dir: Path
    init: Path  # folder of the saved model to start from
    folders: Folders
    params: Any  # the task's FineTuneParams


def run(job: FineTuneJob) -> None:
    """Fine-tune, or resume it, in every worker. Worker 0 leaves the results in the work folder."""
    first = collectives.rank() == 0
    # for the new heads: the only draws from torch's generator in the whole stage
    torch.manual_seed(job.params.seed)
    task = _task(job)
    _start_from(task.model.backbone, job.init)
    with workdir.locked(job.work_dir) if first else nullcontext(), _tracked(job, first) as tracked:
        if first:
            tracked.dataset(job.folders.shards, job.fine_tune.data, "training")
            tracked.started_from("init", job.init / checkpoint.WEIGHTS, job.fine_tune.init)
        train(task, job.params, job.params.loop, job.work_dir, tracked)
        if first:
            finished, _ = finish(task.model, job.work_dir, f"fine-tuning: {job.fine_tune.title}")
            # evaluation reads all three
            if job.folders.text_tokenizer.exists():  # not of a model of images alone
                text.put_into(finished / "model", job.folders.text_tokenizer)
            files.write_json(finished / "params.json", asdict(job.params))
            tracked.artifact(finished / "curves.png")
            tracked.model(finished / "model", f"finetune/{job.name}")


def backbone_config(folder: Path) -> BackboneConfig:
    """The backbone of a saved model. Raises UserError where there is none."""
    path = folder / "config.json"
    try:
        return checkpoint.read_backbone_config(path)
    except FileNotFoundError:
        raise UserError(f"{path}: not found; train the model to start from") from None
    except ValueError as error:
        raise UserError(
            f"{error}; name a pretrained or fine-tuned model, which has a backbone"
        ) from None


def check(job: FineTuneJob) -> None:
    """Raises UserError where data are missing that training or validation will ask for, or a text
    may be longer than the model's position table."""
    key = f"fine_tunes.yaml: {job.name}"
    require_split(job.folders.shards, "train", key)
    _check_columns(job)
    require_split(job.folders.shards, "val", key)
    longest, known = getattr(job.params.inputs, "text_length", 0), backbone_config(job.init)
    if longest > known.text_length:
        raise UserError(
            f"params.yaml: finetune of {job.name}: inputs.text_length: {longest}, but the model "
            f"{job.init} was made for texts of {known.text_length}"
        )


def _task(job: FineTuneJob) -> Any:
    """The task with its new model. Raises UserError where sizes do not fit each other."""
    module = tasks.load(job.fine_tune.task, "training.task")
    try:
        return module.Task(job.params, backbone_config(job.init), job.folders)
    except ValueError as error:
        raise UserError(f"params.yaml: finetune of {job.name}: {error}") from None


def _check_columns(job: FineTuneJob) -> None:
    """Raises UserError where the data set's shards lack a column that the task reads."""
    task, shards = job.fine_tune.task, job.folders.shards
    group = parquet.row_groups(shards, "train")[0]
    missing = set(tasks.load(task, "training.data").COLUMNS) - set(parquet.columns(group))
    if missing:
        raise UserError(
            f"fine_tunes.yaml: {job.name}: task {task} reads {', '.join(sorted(missing))}, which "
            f"{shards} does not have"
        )


def _start_from(backbone: checkpoint.Pretrained, folder: Path) -> None:
    try:
        report = checkpoint.load_backbone(backbone, folder)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not found; train the model to start from") from None
    except ValueError as error:
        raise UserError(str(error)) from None
    log(f"weights from {folder}: {report}")


def _tracked(job: FineTuneJob, first: bool) -> AbstractContextManager[tracking.Run]:
    if not first:
        return nullcontext(tracking.Run(None))
    return tracking.run(
        f"finetune {job.fine_tune.title}",
        stage="finetune",
        task=job.fine_tune.task,
        variant=job.fine_tune.pretraining,
        table=job.fine_tune.table,
        params=asdict(job.params),
        work_dir=job.work_dir,
    )
