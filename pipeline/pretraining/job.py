"""The run of a pretraining: training in the workers, what it is tracked by, and what it leaves."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model import checkpoint
from pipeline.data.transforms.views import ViewParams
from pipeline.pretraining import visualize
from pipeline.pretraining.data import DataFolders
from pipeline.pretraining.task import PretrainingTask
from pipeline.pretraining.variants import STREAM_OF, PretrainParams, image_sources
from pipeline.tokenizers import text
from pipeline.tracking import client as tracking
from pipeline.training import collectives, curves
from pipeline.training.artifacts import finish
from pipeline.training.curves import CurveRow
from pipeline.training.loop import evaluate, train
from pipeline.utils import files, workdir


@dataclass(frozen=True)
class PretrainJob:
    """A variant to pretrain, as it is sent to the workers."""

    name: str
    work_dir: Path
    folders: DataFolders
    params: PretrainParams
    view_params: dict[str, ViewParams] | None  # for online tokens
    init: Path | None = None  # folder of the model to start from


def run(job: PretrainJob) -> None:
    """Train a variant, or resume it, in every worker. Worker 0 leaves the results in the work
    folder."""
    first = collectives.rank() == 0
    task = PretrainingTask(job.folders, job.params, job.view_params, job.init)
    with workdir.locked(job.work_dir) if first else nullcontext(), _tracked(job, first) as tracked:
        if first:  # the others would compute checksums for nobody
            track_inputs(tracked, job.folders, job.params, job.init)
        if job.params.objectives:
            validation = asdict(job.params.validation)
            train(task, job.params, job.params.loop, job.work_dir, tracked, validation)
        else:
            rows = [CurveRow(0, "validation", evaluate(task))]
            curves.write_jsonl(job.work_dir / curves.JSONL, rows)
        if first:
            finished = _finish(task, job)
            tracked.model(finished / "model", f"pretrain/{job.name}")
            tracked.artifact(finished / "curves.png")
            tracked.artifact(finished / "masked.png")
            tracked.artifact(finished / "validation.json")


def work_params(params: PretrainParams) -> dict[str, Any]:
    """The parameters that the weights are a function of: without those of validation."""
    tree = asdict(params)
    del tree["validation"], tree["loop"]["evaluate_every"]
    return tree


def inputs(folders: DataFolders, params: PretrainParams, init: Path | None = None) -> list[Path]:
    """The files that stand for all data of a run: indices with checksums, the text tokenizer, and
    the weights in `init`, a folder, that it starts from."""
    paths = [folders.text_tokenizer]
    if init is not None:
        paths += [init / checkpoint.CONFIG, init / checkpoint.WEIGHTS]
    if params.architecture.visual_tokens == "online":
        paths.append(folders.visual_tokenizer / "model.safetensors")
    for source in sorted(params.data.texts.sources):
        paths.append(folders.text_tokens / source / "index.json")
    for source in image_sources(params):
        paths.append(folders.shards / source / "index.json")
        paths.append(folders.visual_tokens / source / "index.json")
    return paths


def _finish(task: PretrainingTask, job: PretrainJob) -> Path:
    """Write the model, its curves, the last validation metrics and examples into a folder."""
    folder, rows = finish(task.model, job.work_dir, f"pretraining: {job.name}")
    text.put_into(folder / "model", job.folders.text_tokenizer)
    validation = [row.values for row in rows if row.kind == "validation"]
    files.write_json(folder / "validation.json", validation[-1])
    task.model.eval()
    sources = {"images": job.params.validation.images, "pairs": job.params.validation.pairs}
    visualize.draw(
        task.model, job.folders, job.params.data, task.builder, sources, folder / "masked.png"
    )
    return folder


def run_name(variant: str) -> str:
    """What MLflow calls the run of a pretraining."""
    return "pretrain" if variant == "main" else f"pretrain {variant}"


def _tracked(job: PretrainJob, first: bool) -> AbstractContextManager[tracking.Run]:
    if not first:
        return nullcontext(tracking.Run(None))
    return tracking.run(
        run_name(job.name),
        stage="pretrain",
        variant=job.name,
        params=asdict(job.params),
        work_dir=job.work_dir,
    )


def track_inputs(
    tracked: tracking.Run, folders: DataFolders, params: PretrainParams, init: Path | None
) -> None:
    """Record the data of a variant's streams, and what made its tokenizers and, in the folder
    `init`, its first weights."""
    for objective in params.objectives:
        stream = STREAM_OF[objective]
        root = folders.text_tokens if stream == "texts" else folders.shards
        for source, passes in getattr(params.data, stream).sources.items():
            if passes:
                tracked.dataset(root / source, source, "training")
    visual_tokenizer = folders.visual_tokenizer / checkpoint.WEIGHTS
    tracked.started_from("tokenizer.text", folders.text_tokenizer, "text_tokenizer")
    tracked.started_from("tokenizer.visual", visual_tokenizer, "visual_tokenizer")
    if init is not None and params.init is not None:
        tracked.started_from("init", init / checkpoint.WEIGHTS, params.init)
