"""All tables and pictures of a scale on one page that opens without a network."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.reporting.render import texts
from pipeline.reporting.tables import Table
from pipeline.utils import files

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = "reporting/report.html.j2"  # in `pipeline`


@dataclass(frozen=True)
class Figure:
    """A picture, as base64 of a PNG file."""

    caption: str
    png: str


@dataclass(frozen=True)
class Chapter:
    """Pictures and numbers of one model; `facts` are shown as they are."""

    title: str
    figures: list[Figure]
    facts: dict[str, str]


def pretraining(folder: Path) -> Chapter:
    """Curves and held-out metrics of a variant's folder."""
    metrics = files.read_json(folder / "validation.json")
    return Chapter(
        f"Pretraining: {folder.name}", figures(sorted(folder.glob("*.png"))), facts(metrics)
    )


def numbers(title: str, result: dict[str, Any]) -> Chapter:
    """All numbers of a result."""
    return Chapter(title, [], facts(result))


def evaluation(item: str, result: dict[str, Any], predictions: Path) -> Chapter:
    """What an evaluation found, with its pictures."""
    return Chapter(f"Evaluation: {item}", figures(sorted(predictions.glob("*.png"))), facts(result))


def figures(pictures: Iterable[Path]) -> list[Figure]:
    """PNG files, named as their files are."""
    return [Figure(path.stem, base64.b64encode(path.read_bytes()).decode()) for path in pictures]


def page(title: str, note: str, ours: str, tables: list[Table], chapters: list[Chapter]) -> str:
    """The HTML; `ours` is the heading of our rows in the tables."""
    return template(TEMPLATE, autoescape=True).render(
        title=title, note=note, ours=ours, tables=tables, chapters=chapters, texts=texts
    )


def template(name: str, *, autoescape: bool) -> "Template":
    """A template in the package `pipeline`, with the filter `thousands`; a name that it is not given is an
    error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipeline", ""),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = "{:,}".format
    return environment.get_template(name)


def facts(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Numbers and names by dotted key; fractions with four decimals."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= facts(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float, str)):
            found[f"{prefix}{key}"] = f"{value:.4f}" if isinstance(value, float) else str(value)
    return found
