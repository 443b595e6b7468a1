"""python -m stages.seeds SEED...: the pipeline with each seed, and the tables with mean and
spread.

No DVC stage but what runs it: the seeds of pretraining and of all fine-tunes are set together, the
data stay. At the end params.yaml is as it was, and `dvc repro` brings its results back from the run
cache.
"""

import subprocess
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from typing import Any

from pipeline.config import params
from pipeline.errors import UsageError, UserError
from pipeline.orchestration import repro
from pipeline.orchestration.edited_params import edited
from pipeline.reporting import html_report, released_results, render, seed_statistics, tables
from pipeline.utils import files
from pipeline.utils.entry_point import entry

SEEDS = ("pretrain.common.seed", "finetune.common.seed")


def main(*seed: str) -> None:
    """Write `results/<scale>/seeds/`: the results of each seed, their mean and spread, the tables,
    and a report."""
    seeds = _numbers(seed)
    scale = params.scale()
    folder = Path("results", scale, "seeds")
    for number in seeds:
        _run(number, scale, folder / str(number))
    results = [_fine_tuned(folder / str(seed)) for seed in seeds]
    summary = {
        "seeds": seeds,
        "mean": seed_statistics.mean(results),
        "deviation": seed_statistics.deviation(results),
        "lowest": seed_statistics.lowest(results),
        "highest": seed_statistics.highest(results),
    }
    files.write_json(folder / "summary.json", summary)
    settings = params.load(tables.TableParams, "table")
    made = {}
    for name, layout in tables.read_layout().items():
        table = seed_statistics.against_paper(name, layout, results, settings)
        made[name] = table
        render.write(table, folder / name)
        print(render.markdown(table))
    with files.replacing(folder / "report.html") as temporary:
        temporary.write_text(
            _report(scale, settings.note, summary, list(made.values())), encoding="utf-8"
        )


def _numbers(words: tuple[str, ...]) -> list[int]:
    if len(set(words)) < 2 or not all(word.isdecimal() for word in words):
        raise UsageError("at least two different numbers")
    return [int(word) for word in words]


def _fine_tuned(folder: Path) -> dict[str, Any]:
    """Results that depend on the seed: those of released weights do not."""
    results = {}
    for name, result in tables.load_results(folder).items():
        if not released_results.is_released(result):
            results[name] = result
    return results


def _report(scale: str, note: str, summary: dict[str, Any], made: list[tables.Table]) -> str:
    """The tables, and of every result the mean and the deviation over the seeds."""
    chapters = [
        html_report.numbers(f"{title}: {item}", summary[key][item])
        for item in summary["mean"]
        for key, title in (
            ("mean", "Mean over the seeds"),
            ("deviation", "Standard deviation over the seeds"),
        )
    ]
    ours = made[0].sections[-2].title
    return html_report.page(
        f"VL-BEiT, {scale}, seeds {', '.join(map(str, summary['seeds']))}",
        note,
        ours,
        made,
        [html_report.Part("Over the seeds", chapters)],
    )


def _run(seed: int, scale: str, folder: Path) -> None:
    """Run the pipeline with a seed, as `make repro` does and then as an experiment of DVC, which
    finds all of it done; keep copies of what it measured."""
    overrides = [f"-S{key}={seed}" for key in SEEDS]
    try:
        with edited(partial(_set_seed, seed=seed)):
            repro.main()
            subprocess.run(["dvc", "exp", "run", *overrides], check=True)
        files.fresh_directory(folder)
        for path in sorted(Path("results", scale, "evaluate").glob("*.json")):
            files.write_json(folder / path.name, files.read_json(path))
        for path in sorted(Path("runs", scale, "pretrain").glob("*/validation.json")):
            files.write_json(folder / f"pretrain-{path.parent.name}.json", files.read_json(path))
    except (UserError, subprocess.CalledProcessError):
        raise UserError(
            f"seed {seed}: the pipeline failed, see above; run this again, finished stages are not "
            "redone"
        ) from None


def _set_seed(tree: Any, seed: int) -> None:
    """Set a seed in the tree of params.yaml."""
    for key in SEEDS:
        *blocks, name = key.split(".")
        reduce(getitem, blocks, tree)[name] = seed


if __name__ == "__main__":
    entry(main)
