"""A trained model as a folder that needs nothing else: weights, sizes, words, names of classes, and
a model card."""

import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from pipeline import tasks
from pipeline.config import params
from pipeline.data.datasets import facts
from pipeline.errors import UserError
from pipeline.inference.registry import row_predictors
from pipeline.pretraining import task
from pipeline.reporting import html_report
from pipeline.tasks import Folders, fine_tunes
from pipeline.tasks.fine_tunes import FineTune
from pipeline.tracking import client as tracking
from pipeline.utils import files

TEMPLATE = "inference/model_card.md.j2"  # in `pipeline`
GENERATED = (
    "It has seen nothing but drawings of a generated world and sentences about them: it is of no use on "
    "photographs, and its scores compare with nobody else's."
)
COLLECTED = (
    "It has learnt from pictures and English texts of the web, with their errors, gaps and prejudices; "
    "nothing was filtered for what people may find harmful."
)


@dataclass(frozen=True)
class Made:
    """What one step of a model's making was: pretraining, or a fine-tune."""

    step: str
    sources: list[str]
    settings: dict[str, Any]


@dataclass(frozen=True)
class DataRow:
    """A line of the card's table of data."""

    step: str
    source: str
    rows: int
    units: int
    rejected: int
    origin: str
    terms: str


@dataclass(frozen=True)
class Export:
    """Where the parts of a model are, and what its card says."""

    name: str
    title: str
    model: Path  # folder
    classes: list[str]
    scores: Path  # file
    made: list[Made]  # in order


def of_variant(scale: str, name: str) -> Export:
    """A pretrained model."""
    place = Path("runs", scale, "pretrain", name)
    return Export(
        name,
        f"pretrained ({name})",
        place / "model",
        [],
        place / "validation.json",
        _chain(f"pretrain/{name}"),
    )


def of_fine_tune(scale: str, name: str) -> Export:
    """A fine-tuned model."""
    fine_tune = fine_tunes.load(name)
    return Export(
        name,
        fine_tune.title,
        Path("runs", scale, "finetune", name, "model"),
        _class_names(scale, fine_tune),
        Path("results", scale, "evaluate", f"{name}.json"),
        _chain(f"finetune/{name}"),
    )


def _class_names(scale: str, fine_tune: FineTune) -> list[str]:
    """Of tasks with classes."""
    predict = tasks.load(fine_tune.task, "predict")
    if not hasattr(predict, "class_names"):
        return []
    fine_tune_params = fine_tune.load_params(params.read())
    evaluate_params = fine_tune.load_evaluate_params(params.read())
    return predict.class_names(Folders.of(scale, fine_tune.data), fine_tune_params, evaluate_params)


def _reads_text(model: str) -> bool:
    """Whether a class of saved models has a text among its inputs."""
    return "text" in row_predictors()[model].INPUTS


def write(export: Export, scale: str, folder: Path) -> None:
    """Copy the model's files into a folder, which may exist, and write its card.

    Raises:
        UserError: the model has not been trained or evaluated.
    """
    config = files.read_json(export.model / "config.json")
    for name in ("model.safetensors", "config.json"):
        _copy(export.model / name, folder / name)
    if _reads_text(config["model"]):
        _copy(Path("data", scale, "text_tokenizer", "spm.model"), folder / "spm.model")
    if export.classes:
        files.write_json(folder / "classes.json", export.classes)
    with files.replacing(folder / "README.md") as temporary:
        temporary.write_text(card(export, config, scale), encoding="utf-8")


def card(export: Export, config: dict[str, Any], scale: str) -> str:
    """The model card, as Markdown."""
    data = [row for made in export.made for row in _data(made, scale)]
    backbone = config["backbone"]
    scores = {
        key: value
        for key, value in files.read_json(export.scores).items()
        if not isinstance(value, str)
    }
    with_text = _reads_text(config["model"])
    return html_report.template(TEMPLATE, autoescape=False).render(
        name=export.name,
        title=export.title,
        scale=scale,
        model=config["model"],
        weights=_weights(export.model / "model.safetensors"),
        image_size=backbone["image_size"],
        text_length=backbone["text_length"] if with_text else 0,
        answers=len(config.get("answers", ())),
        classes=len(export.classes),
        data=data,
        rejected=sum({row.source: row.rejected for row in data}.values()),
        scores=html_report.facts(scores),
        steps=[made.step for made in export.made],
        settings=tracking.flatten(export.made[-1].settings),
        limits=_limits(data, backbone, with_text),
    )


def _chain(place: str) -> list[Made]:
    """From pretraining to the model in `runs/<scale>/<place>`."""
    kind, name = place.split("/")
    if kind == "pretrain":
        return [_pretrained(name)]
    fine_tune = fine_tunes.load(name)
    block = params.read().block(*fine_tune.blocks(), loop=("loop",))
    return [*_chain(fine_tune.init), Made(place, [fine_tune.data], block)]


def _pretrained(variant: str) -> Made:
    settings = task.load_params(params.read(), variant)
    streams = [getattr(settings.data, task.STREAM_OF[name]) for name in settings.objectives]
    sources = [source for stream in streams for source in stream.sources]
    return Made(f"pretrain/{variant}", list(dict.fromkeys(sources)), asdict(settings))


def _data(made: Made, scale: str) -> Iterator[DataRow]:
    for source in made.sources:
        index = files.read_json(Path("data", scale, "shards", source, "index.json"))
        origin = params.subtree(f"download.{source}.origin")
        train = index["splits"]["train"]
        yield DataRow(
            made.step,
            source,
            train["rows"],
            train["units"],
            sum(index["rejected"].values()),
            origin,
            facts.GENERATED_LICENSE if origin == "synthetic" else facts.read(source).license,
        )


def _limits(data: list[DataRow], backbone: dict[str, Any], with_text: bool) -> list[str]:
    limits = [
        GENERATED if all(row.origin == "synthetic" for row in data) else COLLECTED,
        f"Pictures are squeezed into a square of {backbone['image_size']} pixels, whatever their shape.",
    ]
    return limits + [f"Texts longer than {backbone['text_length']} tokens are cut off."] * with_text


def _weights(path: Path) -> int:
    """Numbers in a safetensors file."""
    with safe_open(path, "pt") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise UserError(f"{source}: not found; run the stage that makes it")
    with files.replacing(target) as temporary:
        shutil.copyfile(source, temporary)
