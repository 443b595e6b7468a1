"""python -m stages.table: the paper's tables with our rows, and a report of all that was
measured."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.config import params
from pipeline.data.sharding import coverage
from pipeline.reporting import html_report, render, tables
from pipeline.tracking import client as tracking
from pipeline.training import curve_plots, curves
from pipeline.utils import files
from pipeline.utils.entry_point import entry


def main() -> None:
    """Write `results/<scale>/tables/` and `results/<scale>/report.html`."""
    scale = params.scale()
    settings = params.load(tables.TableParams, "table")
    results = tables.load_results(Path("results", scale, "evaluate"))
    folder = files.fresh_directory(Path("results", scale, "tables"))
    made = {}
    for name, layout in tables.read_layout().items():
        made[name] = tables.against_paper(name, layout, results, settings)
    made["retrieval"] = tables.retrieval_recalls(results, settings)
    made["coverage"] = coverage.table(
        Path("data", scale, "shards"), settings.section, settings.note
    )
    files.write_json(Path("results", scale, "metrics.json"), _headline(results))
    with tracking.run("table", stage="table", params=asdict(settings)) as run:
        for name, table in made.items():
            render.write(table, folder / name)
            run.artifact(folder / f"{name}.csv")
        path = _report(scale, settings, list(made.values()), results)
        run.artifact(path)
        run.note("\n\n".join(render.markdown(table) for table in made.values()))


def _headline(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The few numbers that stand for each evaluation, in percent, for DVC to compare."""
    headline = {}
    for name, result in results.items():
        shares = {key: value for key, value in result["headline"].items() if key != "score"}
        headline[name] = {key: 100 * value for key, value in shares.items()}
    return headline


def _report(
    scale: str, settings: tables.TableParams, made: list[tables.Table], results: dict[str, Any]
) -> Path:
    root = Path("results", scale)
    chapters = [
        html_report.evaluation(item, result, root / "predictions" / item)
        for item, result in results.items()
    ]
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
