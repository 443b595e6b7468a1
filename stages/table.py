"""python -m stages.table: the paper's tables with our rows, from the results of all evaluations."""

from dataclasses import asdict
from pathlib import Path

from pipeline import files, params, tables, tracking, typeset
from pipeline.stage import entry


def main() -> None:
    """Write `results/<scale>/tables/`."""
    scale = params.scale()
    settings = params.load(tables.TableParams, "table")
    results = tables.load_results(Path("results", scale, "evaluate"))
    folder = files.fresh_directory(Path("results", scale, "tables"))
    made = {"retrieval": tables.retrieval_recalls(results, settings)}
    for name in params.subtree("tables"):
        layout = params.load_shared(tables.TableLayout, f"tables.{name}")
        made[name] = tables.against_paper(name, layout, results, settings)
    with tracking.run("table", stage="table", params=asdict(settings)) as run:
        for name, table in made.items():
            typeset.write(table, folder / name)
            run.artifact(folder / f"{name}.png")
        run.note("\n\n".join(typeset.markdown(table) for table in made.values()))


if __name__ == "__main__":
    entry(main)
