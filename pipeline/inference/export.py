"""A trained model as a self-contained folder: weights, configuration, text tokenizer, names of
classes, and a model card."""

import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from model import checkpoint
from pipeline import tasks
from pipeline.config import params
from pipeline.data.datasets import facts
from pipeline.errors import UserError
from pipeline.inference import card_metadata
from pipeline.inference.registry import row_predictors
from pipeline.pretraining import variants
from pipeline.reporting import html_report
from pipeline.tasks import Folders, evaluations, fine_tunes
from pipeline.tokenizers import text
from pipeline.tracking import client as tracking
from pipeline.utils import files, model_folder

FILES = ("config.json", *text.FILES, "classes.json", "README.md")  # beside the weights
TEMPLATE = "inference/model_card.md.j2"  # in `pipeline`
GENERATED = (
    "It was trained on generated drawings and sentences about them alone: it is of no use on "
    "photographs, and its scores cannot be compared with those of other models."
)
COLLECTED = (
    "It was trained on images and English texts from the web, with their errors, gaps and "
    "prejudices; nothing was filtered for what people may find harmful."
)

LONGEST_DESCRIPTION = 5000  # characters that MLflow's registry has room for

OWN = (
    "It was trained on files of the people who trained it, with whatever is wrong or one-sided in "
    "them."
)
OWN_LICENSE = "your own files: their terms"
MADE_UP = "Its weights are made up to check the path of released ones: it is of no use."


@dataclass(frozen=True)
class TrainingStage:
    """A stage of a model's training: pretraining, or a fine-tune."""

    name: str  # such as `pretrain/main`
    sources: list[str]
    params: dict[str, Any]


@dataclass(frozen=True)
class CardDataRow:
    """A line of the card's table of data; counts are those of the training split."""

    stage: str
    source: str
    rows: int
    samples: int
    rejected: int  # records of all splits that could not be used
    origin: str
    license: str


@dataclass(frozen=True)
class Export:
    """Where the parts of a model are, and what its card says."""

    name: str
    title: str
    model: Path  # folder
    classes: list[str]  # names
    scores: Path  # JSON file
    stages: list[TrainingStage]  # in order

    @property
    def released(self) -> dict[str, Any]:
        """What is known of the released file that the model is or began with; empty where it began
        here."""
        first = self.stages[0]
        return first.params["released"] if first.name.startswith(evaluations.IMPORT) else {}


def of_variant(scale: str, name: str) -> Export:
    """The pretrained model of a variant."""
    run = Path("runs", scale, "pretrain", name)
    return Export(
        name,
        f"pretrained ({name})",
        run / "model",
        [],
        run / "validation.json",
        _training_stages(f"pretrain/{name}", scale),
    )


def of_fine_tune(scale: str, name: str) -> Export:
    """The model of a fine-tune. Raises UserError where it has not been trained."""
    fine_tune, model = fine_tunes.load(name), Path("runs", scale, "finetune", name, "model")
    files.read_json(model / "config.json")  # before all that reads data
    return Export(
        name,
        fine_tune.title,
        model,
        _class_names(scale, name, model),
        Path("results", scale, "evaluate", f"{name}.json"),
        _training_stages(f"finetune/{name}", scale),
    )


def of_import(scale: str, name: str) -> Export:
    """A model of released weights. Raises UserError where it has not been imported."""
    run = Path("runs", scale, "import", name)
    return Export(
        name,
        f"released weights ({name})",
        run / "model",
        list(model_folder.class_names(run / "model")),
        Path("results", scale, "evaluate", f"{name}.json"),
        _training_stages(f"import/{name}", scale),
    )


def of(scale: str, model: str) -> Export:
    """A model in a folder of `runs/SCALE`, such as `finetune/vqa`. Raises UserError where it has not
    been made."""
    kind, _, name = model.partition("/")
    make = {"pretrain": of_variant, "finetune": of_fine_tune, "import": of_import}
    if kind not in make:
        raise UserError(f"{model}: no model that has a card")
    return make[kind](scale, name)


def description(scale: str, model: str) -> str:
    """The card of such a model for MLflow's registry: without the metadata that begins it, and with
    as many lines as the registry takes. Raises UserError where the model has not been made, or its
    data are not here."""
    export = of(scale, model)
    text = card(export, files.read_json(export.model / "config.json"), scale)
    shown = text.split("---\n", 2)[2].strip()
    if len(shown) > LONGEST_DESCRIPTION:
        shown = shown[:LONGEST_DESCRIPTION].rpartition("\n")[0]
    return shown


def _class_names(scale: str, name: str, model: Path) -> list[str]:
    """Names of the classes, of tasks that have them."""
    fine_tune = fine_tunes.load(name)
    predict = tasks.load(fine_tune.task, "predict")
    if not hasattr(predict, "class_names"):
        return []
    fine_tune_params = fine_tune.load_params(params.read())
    evaluate_params = evaluations.load(name).load_params(params.read())
    folders = Folders.of(scale, fine_tune.data, model)
    return predict.class_names(folders, fine_tune_params, evaluate_params)


def _reads_text(export: Export, model: str) -> bool:
    """Whether a model of the class `model` takes a text. A backbone alone, which answers nothing,
    has a tokenizer beside it if it does."""
    predictor = row_predictors().get(model)
    if predictor is None:
        return text.in_folder(export.model) is not None
    return "text" in predictor.INPUTS


def write(export: Export, scale: str, folder: Path) -> None:
    """Copy the model's files into a folder, which may exist, and write its card.

    Raises:
        UserError: the model has not been trained, or the folder has such files of another kind.
    """
    if taken := _taken(folder):
        raise UserError(f"{taken}: is there, and no exported model beside it; name another folder")
    config = files.read_json(export.model / "config.json")
    _copy(export.model / "model.safetensors", folder / "model.safetensors")
    files.write_json(folder / "config.json", config | _timm_config(export, config))
    if _reads_text(export, config["model"]):
        text.put_into(folder, _tokenizer(export))
    if export.classes:
        files.write_json(folder / "classes.json", export.classes)
    with files.replacing(folder / "README.md") as temporary:
        temporary.write_text(card(export, config, scale), encoding="utf-8")


def _timm_config(export: Export, config: dict[str, Any]) -> dict[str, Any]:
    """What config.json has for timm beside, of image classifiers."""
    if config["model"] != "Classification":
        return {}
    from model import timm_encoder  # imports torch, which the rest does without

    backbone = checkpoint.read_backbone_config(export.model / "config.json")
    encoder = timm_encoder.ImageEncoderConfig(backbone, config["classes"], "avg")
    return timm_encoder.timm_config(encoder, export.classes)


def _tokenizer(export: Export) -> Path:
    """What the model's texts are read with. Raises UserError where its folder has no such file."""
    tokenizer = text.in_folder(export.model)
    if tokenizer is None:
        known = " or ".join(text.FILES)
        raise UserError(f"{export.model}: no {known}; run the stage that makes the model")
    return tokenizer


def card(export: Export, config: dict[str, Any], scale: str) -> str:
    """The model card as Markdown; `config` is the content of the model's config.json."""
    data: list[CardDataRow] = []
    for stage in export.stages:
        data += _data(stage, scale)
    backbone, with_text = config.get("backbone", config), _reads_text(export, config["model"])
    tokenizer = _tokenizer(export).name if with_text else ""
    result = files.read_json(export.scores) if export.scores.exists() else {}
    scores = {key: value for key, value in result.items() if not isinstance(value, str)}
    return html_report.template(TEMPLATE, autoescape=False).render(
        metadata=_metadata(export, config["model"], data, result, with_text=with_text),
        name=export.name,
        title=export.title,
        scale=scale,
        model=config["model"],
        parameters=_num_parameters(export.model / "model.safetensors"),
        image_size=backbone["image_size"],
        text_length=backbone["text_length"] if with_text else 0,
        tokenizer=tokenizer,
        tokenizer_kind=text.FILES.get(tokenizer),
        answers=len(config.get("answers", ())),
        classes=len(export.classes),
        data=data,
        rejected=_rejected(data),
        scores=html_report.facts(scores),
        stages=[stage.name for stage in export.stages],
        params=tracking.flatten(export.stages[-1].params),
        released=export.released,
        limits=_limits(data, backbone, with_text, export.released),
    )


def _metadata(
    export: Export,
    model: str,
    data: list[CardDataRow],
    result: dict[str, Any],
    *,
    with_text: bool,
) -> str:
    """What the hub reads; result: of the evaluation, empty where there was none."""
    datasets = dict.fromkeys(_data_set(row.source, row.origin) for row in data)  # each once
    headline = result.get("headline", result)
    scores = {key: value for key, value in headline.items() if isinstance(value, float)}
    scores.pop("score", None)  # one of the others, or their mean
    evaluated_on = "validation data of pretraining"
    if "data" in result:
        block = params.read().block("download.common", f"download.{result['data']}")
        evaluated_on = _data_set(result["data"], block["origin"])
    return card_metadata.metadata(
        model,
        f"vl-beit-{export.name}",
        license="mit" if export.released else "apache-2.0",
        language="en" if with_text else None,
        datasets=list(datasets),
        evaluated_on=evaluated_on,
        scores=scores,
    )


def _data_set(source: str, origin: str) -> str:
    """The name of a data set, which generated data do not take."""
    return f"generated-{source}" if origin == "synthetic" else source


def _training_stages(stage: str, scale: str) -> list[TrainingStage]:
    """The stages from pretraining, or an import, to `stage`, such as `finetune/vqa`."""
    kind, name = stage.split("/")
    if kind == "pretrain":
        return [_pretrained(name)]
    if kind == "import":
        return [
            TrainingStage(stage, [], files.read_json(Path("runs", scale, stage, "params.json")))
        ]
    fine_tune = fine_tunes.load(name)
    block = params.read().block(*fine_tune.blocks(), loop=("loop",))
    before = _training_stages(fine_tune.init, scale)
    return [*before, TrainingStage(stage, [fine_tune.data], block)]


def _pretrained(variant: str) -> TrainingStage:
    pretrain_params = variants.load_params(params.read(), variant)
    sources: dict[str, None] = {}  # in order, each once
    for objective in pretrain_params.objectives:
        stream = getattr(pretrain_params.data, variants.STREAM_OF[objective])
        sources |= dict.fromkeys(name for name, passes in stream.sources.items() if passes)
    return TrainingStage(f"pretrain/{variant}", list(sources), asdict(pretrain_params))


def _data(stage: TrainingStage, scale: str) -> Iterator[CardDataRow]:
    for source in stage.sources:
        index = files.read_json(Path("data", scale, "shards", source, "index.json"))
        download = params.read().block("download.common", f"download.{source}")
        train = index["splits"]["train"]
        yield CardDataRow(
            stage.name,
            source,
            train["rows"],
            train["samples"],
            sum(index["rejected"].values()),
            download["origin"],
            _license(source, download),
        )


def _license(source: str, download: dict[str, Any]) -> str:
    """The terms of a source's files; `download` is its block of params.yaml."""
    if download["origin"] == "synthetic":
        return facts.GENERATED_LICENSE
    return facts.read(source).license if download["official"] else OWN_LICENSE


def _rejected(data: list[CardDataRow]) -> int:
    """Rejected records of all sources; a source may be in several rows."""
    of_source = {row.source: row.rejected for row in data}
    return sum(of_source.values())


def _limits(
    data: list[CardDataRow], backbone: dict[str, Any], with_text: bool, released: dict[str, Any]
) -> list[str]:
    licenses = {row.license for row in data}
    known = {facts.GENERATED_LICENSE: GENERATED, OWN_LICENSE: OWN}
    origin = known.get(licenses.pop(), COLLECTED) if len(licenses) == 1 else COLLECTED
    limits = [
        MADE_UP if released.get("origin") == "synthetic" else origin,
        f"Images are resized to a square of {backbone['image_size']} pixels, whatever their shape.",
    ]
    if with_text:
        limits.append(f"Texts longer than {backbone['text_length']} tokens are truncated.")
    return limits


def _num_parameters(path: Path) -> int:
    """How many numbers the tensors of a safetensors file have."""
    with safe_open(path, "pt") as file:
        names = file.keys()
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def _taken(folder: Path) -> Path | None:
    """A file of somebody else's that an export would write over."""
    if folder.exists() and not folder.is_dir():
        return folder
    if (folder / "model.safetensors").exists():
        return None
    named = (folder / name for name in FILES if (folder / name).exists())
    return next(named, None)


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise UserError(f"{source}: not found; run the stage that makes it")
    with files.replacing(target) as temporary:
        shutil.copyfile(source, temporary)
