"""python -m stages.table: the paper's tables with our rows, and a report of all that was
measured."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.config import params
from pipeline.data.sharding import coverage
from pipeline.reporting import (
    html_report,
    released_results,
    released_rows,
    render,
    tables,
    variant_titles,
)
from pipeline.reporting.released_results import Evaluation
from pipeline.tracking import client as tracking
from pipeline.tracking import registry
from pipeline.training import curve_plots, curves
from pipeline.utils import files
from pipeline.utils.entry_point import entry

MAIN = "main"  # the pretraining variant that Tables 1 to 3 show
ABLATIONS = ("table4", "table5")


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
    parts = [*_evaluations(scale, results, released), *_pretraining(scale)]
    html = html_report.page(f"VL-BEiT, {scale}", settings.note, settings.section, made, parts)
    with files.replacing(root / "report.html") as temporary:
        temporary.write_text(html, encoding="utf-8")
    return root / "report.html"


def _evaluations(
    scale: str, results: dict[str, Any], released: list[Evaluation]
) -> list[html_report.Part]:
    """The main model's, those of released weights, and of ablations the numbers alone."""
    protocols = {evaluation.name: evaluation.description() for evaluation in released}
    fine_tunes = params.lists().subtree("fine_tunes")
    main: list[html_report.Chapter] = []
    ablations: list[html_report.Chapter] = []
    imported: list[html_report.Chapter] = []
    for name, result in results.items():
        predictions = Path("results", scale, "predictions", name)
        if name not in fine_tunes:
            note = protocols.get(name, "")
            imported.append(html_report.evaluation(name, result, predictions, note=note))
            continue
        title, folder = fine_tunes[name]["title"], Path("runs", scale, "finetune", name)
        if fine_tunes[name]["table"] in ABLATIONS:
            ablations.append(html_report.evaluation(title, result, None, folder))
        else:
            main.append(html_report.evaluation(title, result, predictions, folder))
    parts = [
        html_report.Part("What the model does", main),
        html_report.Part("Released weights", imported),
        html_report.Part("Ablations (Tables 4 and 5)", ablations, folded=True),
    ]
    return [part for part in parts if part.chapters]


def _pretraining(scale: str) -> list[html_report.Part]:
    """The main variant's chapter, the others' curves in one figure, and their chapters."""
    folders = Path("runs", scale, "pretrain").glob("*/validation.json")
    variants = sorted(
        (path.parent for path in folders), key=lambda path: variant_titles.position(path.name)
    )
    figure = Path("results", scale, "curves.png")
    others = [folder for folder in variants if folder.name != MAIN]
    with files.replacing(figure) as temporary:
        curve_plots.compare(
            {variant_titles.of(folder.name): curves.read_published(folder) for folder in others},
            temporary,
        )
    main: list[html_report.Chapter] = []
    ablations: list[html_report.Chapter] = []
    for folder in variants:
        chapter = html_report.pretraining(variant_titles.of(folder.name), folder)
        (main if folder.name == MAIN else ablations).append(chapter)
    compared = html_report.Chapter("Losses side by side", html_report.figures([figure]), {})
    return [
        html_report.Part("Pretraining", [*main, compared]),
        html_report.Part("Pretraining of the ablations", ablations, folded=True),
    ]


if __name__ == "__main__":
    entry(main)
