"""python -m stages.readme: the small run's numbers in README.md and docs/results.md.

For those who maintain the documents: fills what stands between `<!-- small: NAME -->` and
`<!-- /small -->` from `results/small` and `runs/small`, with the commit, the seed and the machine, and
the ranges over seeds in `pipeline/reporting/headline_ranges.yaml`.
"""

import platform
import re
import subprocess
import textwrap
from pathlib import Path
from typing import Any

from pipeline.config import params
from pipeline.reporting import distances, headline, render, tables
from pipeline.reporting.headline import Ranges
from pipeline.utils import files
from pipeline.utils.entry_point import entry

DOCUMENTS = (Path("README.md"), Path("docs/results.md"))
RESULTS, RUN = Path("results/small"), Path("runs/small/pretrain/main")
SEEDS = RESULTS / "seeds/summary.json"  # of `make seeds`
WIDTH = 100  # columns of the documents' text
MASKED = (  # what is masked, its metric
    ("texts (MLM)", "mlm"),
    ("images (MIM)", "mim"),
    ("captions (MVLM)", "mvlm_text"),
    ("images of pairs (MVLM)", "mvlm_image"),
)
PAIR = (  # what is masked of a pair, its metric, what it stands beside (pretraining/pair_halves.py)
    ("words of captions", "mvlm_text", ("right", "other", "none")),
    ("patches of images", "mvlm_image", ("right", "other", "none")),
    ("the same, all patches masked", "mvlm_blank", ("right", "other")),
)
PAIR_HEAD = (
    "| of pairs | beside the other half | beside another pair's | alone | gain in nats |",
    "|---|---:|---:|---:|---:|",
)


def main() -> None:
    """Fill the documents; the run must be there, and for what is said of seeds `make seeds`."""
    summary = files.read_json(SEEDS) if SEEDS.exists() else None
    ranges = None if summary is None else headline.of_seeds(summary)
    parts = {"headline": _headline(ranges), "tables": _tables(), "validation": _validation()}
    if summary is not None:
        parts["seeds"] = _seeds(summary)
    if ranges is not None:
        headline.write(ranges, headline.RANGES)
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for name, part in parts.items():
            text = _filled(text, f"<!-- small: {name} -->\n", part)
        with files.replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _filled(text: str, start: str, part: str) -> str:
    """A document with `part` between a start mark, where it has one, and the end mark after it."""
    before, mark, rest = text.partition(start)
    if not mark:
        return text
    _, end, after = rest.partition("<!-- /small -->")
    return before + mark + part + end + after


def _headline(ranges: Ranges | None) -> str:
    """The numbers of one seed, and their ranges over seeds where these were run."""
    results = tables.load_results(RESULTS / "evaluate")
    heads = ["VL-BEiT", "control", "chance, or the most frequent answer"]
    if ranges is not None:
        heads.insert(1, ranges.title)
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for number in headline.HEADLINE:
        keys = (number.ours, number.control, number.chance)
        cells = [render.number(tables.percentage(key, results)) for key in keys]
        if ranges is not None:
            cells.insert(1, _range(ranges.by_title.get(number.title)))
        lines.append(f"| {number.title} | {' | '.join(cells)} |")
    notes = [] if ranges is None else [_about(ranges), ""]
    return "\n".join([*lines, "", *notes, _source(), ""])


def _about(ranges: Ranges) -> str:
    return textwrap.fill(
        f"The range is that of {len(ranges.seeds)} runs; {ranges.outside}. `make repro` ends with these "
        "numbers, and says of each whether it is inside.",
        WIDTH,
    )


def _range(ends: tuple[float, float] | None) -> str:
    return render.number(None) if ends is None else " to ".join(map(render.number, ends))


def _tables() -> str:
    paths = sorted((RESULTS / "tables").glob("table*.md"))
    return "\n".join([_source(), "", *(path.read_text(encoding="utf-8") for path in paths)])


def _validation() -> str:
    metrics: dict[str, Any] = files.read_json(RUN / "validation.json")
    lines = ["| masked tokens of | right | most frequent id | chance |", "|---|---:|---:|---:|"]
    for title, name in MASKED:
        shares = [metrics[f"{name}_{kind}"] for kind in ("accuracy", "frequent", "chance")]
        lines.append(f"| {title} | {' | '.join(render.number(100 * share) for share in shares)} |")
    lines += ["", *PAIR_HEAD]
    for title, name, halves in PAIR:
        shares = [render.number(100 * metrics[f"{name}_{half}_accuracy"]) for half in halves]
        gain, error = metrics[f"{name}_gain_nats"], metrics[f"{name}_gain_nats_error"]
        lines.append(_pair_row(title, shares, gain, error))
    return "\n".join([*lines, ""])


def _pair_row(title: str, shares: list[str], gain: float, error: float) -> str:
    """A row below `PAIR_HEAD`, with a dash where a share was not measured."""
    cells = [*shares, render.number(None)][:3]
    return f"| {' | '.join([title, *cells, f'{gain:.3f} ± {error:.3f}'])} |"


def _seeds(summary: dict[str, Any]) -> str:
    """Our rows of the five tables and what the main model reads, each as mean ± deviation."""
    seeds = ", ".join(map(str, summary["seeds"]))
    lines = [f"Mean and standard deviation over the seeds {seeds}. {_made_by()}", ""]
    settings = params.load(tables.TableParams, "table")
    for name, layout in tables.read_layout().items():
        mean, spread = (
            tables.against_paper(name, layout, summary[key], settings)
            for key in ("mean", "deviation")
        )
        heads = [column.heading for column in mean.columns]
        lines += [f"| {' | '.join([mean.title, *heads])} |", f"|---|{'---:|' * len(heads)}"]
        both = zip(mean.sections[-1].rows, spread.sections[-1].rows, strict=True)
        for row, deviations in both:
            cells = map(_with_deviation, row.cells, deviations.cells)
            lines.append(f"| {' | '.join([row.label, *cells])} |")
        lines.append("")
    results = [tables.load_results(SEEDS.parent / str(seed)) for seed in summary["seeds"]]
    lines += [f"Standard errors above, seeds {seeds}:", "", *distances.lines(results), ""]
    lines += PAIR_HEAD
    mean, spread = (summary[kind]["pretrain-main"] for kind in ("mean", "deviation"))
    for title, name, halves in PAIR:
        keys = [f"{name}_{half}_accuracy" for half in halves]
        shares = [_with_deviation(100 * mean[key], 100 * spread[key]) for key in keys]
        gain = f"{name}_gain_nats"
        lines.append(_pair_row(title, shares, mean[gain], spread[gain]))
    return "\n".join([*lines, ""])


def _with_deviation(value: float | None, deviation: float | None) -> str:
    return (
        render.number(value)
        if not deviation
        else f"{render.number(value)} ± {render.number(deviation)}"
    )


def _source() -> str:
    return _made_by(f", seed {params.read().subtree('pretrain.common.seed')}")


def _made_by(what: str = "") -> str:
    """The commit, and `what` else, and the machine that made the numbers."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return f"Commit {commit}{what}, two cores of {_processor()}, no GPU."


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor()


if __name__ == "__main__":
    entry(main)
