"""python -m stages.table: the paper's tables with our rows, and a report of all that was
measured."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.config import params
from pipeline.data.sharding import coverage
from pipeline.reporting import html_report, released_results, released_rows, render, tables
from pipeline.reporting.released_results import Evaluation
from pipeline.tracking import client as tracking
from pipeline.tracking import registry
from pipeline.training import curve_plots, curves
from pipeline.utils import files
from pipeline.utils.entry_point import entry


def main() -> None:
    """Write `results/<scale>/tables/` and `results/<scale>/report.html`."""
    scale = params.scale()
    settings = params.load(tables.TableParams, "table")
    results = tables.load_results(Path("results", scale, "evaluate"))
    released = released_results.evaluations(results)
    for evaluation in released:
        if evaluation.made_up:  # no result: only `released_rows.summary` lists it
            del results[evaluation.name]
    folder = files.fresh_directory(Path("results", scale, "tables"))
    made = _tables(scale, settings, results, released)
    files.write_json(Path("results", scale, "metrics.json"), _headline(results))
    with tracking.run("table", stage="table", params=asdict(settings)) as run:
        for name, table in made.items():
            render.write(table, folder / name)
            run.artifact(folder / f"{name}.csv")
        path = _report(scale, settings, list(made.values()), results, released)
        run.artifact(path)
        run.note("\n\n".join(render.markdown(table) for table in made.values()))
        run.current(registry.in_workspace(scale))


def _tables(
    scale: str,
    settings: tables.TableParams,
    results: dict[str, Any],
    released: list[Evaluation],
) -> dict[str, tables.Table]:
    """All tables of a scale, by the names of their files."""
    made = {}
    for name, layout in tables.read_layout().items():
        ours = tables.against_paper(name, layout, results, settings)
        made[name] = released_rows.add(name, ours, released)
    made["retrieval"] = tables.retrieval_recalls(results, settings)
    shards = Path("data", scale, "shards")
    made["coverage"] = coverage.table(shards, settings.section, settings.note)
    if released:
        made["released"] = released_rows.summary(released)
    return made


def _headline(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The few numbers that stand for each evaluation, in percent, for DVC to compare."""
    headline = {}
    for name, result in results.items():
        shares = {key: value for key, value in result["headline"].items() if key != "score"}
        headline[name] = {key: 100 * value for key, value in shares.items()}
    return headline


def _report(
    scale: str,
    settings: tables.TableParams,
    made: list[tables.Table],
    results: dict[str, Any],
    released: list[Evaluation],
) -> Path:
    root = Path("results", scale)
    protocols = {evaluation.name: evaluation.description() for evaluation in released}
    chapters = []
    for item, result in results.items():
        predictions = root / "predictions" / item
        chapters.append(html_report.evaluation(item, result, predictions, protocols.get(item, "")))
    variants = sorted(
        path.parent for path in Path("runs", scale, "pretrain").glob("*/validation.json")
    )
    with files.replacing(root / "curves.png") as temporary:
        curve_plots.compare(
            {variant.name: curves.read_published(variant) for variant in variants}, temporary
        )
    chapters.append(
        html_report.Chapter(
            "Pretraining: all variants", html_report.figures([root / "curves.png"]), {}
        )
    )
    chapters += map(html_report.pretraining, variants)
    html = html_report.page(f"VL-BEiT, {scale}", settings.note, settings.section, made, chapters)
    with files.replacing(root / "report.html") as temporary:
        temporary.write_text(html, encoding="utf-8")
    return root / "report.html"


if __name__ == "__main__":
    entry(main)
