"""All tables and figures of a scale on one page that opens without a network."""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.reporting.render import texts
from pipeline.reporting.tables import Table
from pipeline.utils import files

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = "reporting/report.html.j2"
CAPTIONS = {  # of figures, by the stems of their files
    "answers": "Questions, the model's answers and the annotators'",
    "curves": "Losses by step",
    "examples": "Images, their classes and the model's most probable ones",
    "masked": "Images, masked patches, and what is predicted in their place",
    "pairs": "Statements about two images, and whether the model takes them to be true",
    "overlays": "Images, their true classes and the predicted ones",
    "top5": "The best five of a text's images and of an image's texts; green: right",
}


@dataclass(frozen=True)
class Figure:
    """An image, as base64 of a PNG file."""

    caption: str
    png: str


@dataclass(frozen=True)
class Chapter:
    """Figures and numbers of one model; `facts`, `parameters` and `note` are shown as they are."""

    title: str
    figures: list[Figure]
    facts: dict[str, str]
    note: str = ""
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Chapters under a heading; folded ones are shown when their title is clicked."""

    title: str
    chapters: list[Chapter]
    folded: bool = False


def pretraining(title: str, folder: Path) -> Chapter:
    """Curves and validation metrics in the folder of a pretraining variant."""
    metrics = files.read_json(folder / "validation.json")
    return Chapter(title, figures(sorted(folder.glob("*.png"))), facts(metrics))


def numbers(title: str, result: dict[str, Any]) -> Chapter:
    """All numbers of a result, without figures."""
    return Chapter(title, [], facts(result))


def evaluation(
    title: str,
    result: dict[str, Any],
    predictions: Path | None,
    fine_tune: Path | None = None,
    note: str = "",
) -> Chapter:
    """The result of an evaluation, with the figures in its folder of predictions and the parameters
    in the folder of its fine-tune, where these are given."""
    drawn = figures(sorted(predictions.glob("*.png"))) if predictions else []
    parameters = {}
    if fine_tune and (fine_tune / "params.json").exists():
        parameters = facts(files.read_json(fine_tune / "params.json"))
    return Chapter(title, drawn, facts(result), note, parameters)


def figures(paths: Iterable[Path]) -> list[Figure]:
    """PNG files with their captions; of files that have none, the stems of their names."""
    return [
        Figure(CAPTIONS.get(path.stem, path.stem), base64.b64encode(path.read_bytes()).decode())
        for path in paths
    ]


def page(title: str, note: str, ours: str, tables: list[Table], parts: list[Part]) -> str:
    """The HTML page; rows in the table sections titled `ours` are highlighted."""
    return template(TEMPLATE, autoescape=True).render(
        title=title, note=note, ours=ours, tables=tables, parts=parts, texts=texts
    )


def template(name: str, *, autoescape: bool) -> "Template":
    """A Jinja template by its path in `pipeline`, with the filters `thousands` (1234 -> 1,234) and
    `markdown`. Rendering it without one of its variables is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipeline", ""),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = "{:,}".format
    environment.filters["markdown"] = markdown
    return environment.get_template(name)


def markdown(value: Any) -> str:
    """A value as text in a line of Markdown: nothing of it is a link, a tag or another cell."""
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", text)


def facts(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Numbers and texts of a nested dict by dotted key."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= facts(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float, str)):
            flat[f"{prefix}{key}"] = _fraction(value) if isinstance(value, float) else str(value)
    return flat


def _fraction(value: float) -> str:
    """Four decimals, or four digits of what is less than a thousandth, such as a learning rate."""
    return f"{value:.4g}" if 0 < abs(value) < 1e-3 else f"{value:.4f}"
