"""Training curves: rows of a file, and pictures of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.utils import files

LEFT_OUT = ("step", "loss", "lr", "grad_norm", "finite")


def read(path: Path) -> list[dict[str, Any]]:
    """The rows `{step, kind, values}` of a curve file; a last line that a crash has cut off is left
    out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a curve file anew."""
    with files.replacing(path) as temporary:
        temporary.write_text("".join(map(line, rows)), encoding="utf-8")


def line(row: dict[str, Any]) -> str:
    """A row as it stands in a curve file."""
    return json.dumps(row) + "\n"


def plot(rows: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Draw the losses of a curve by step: training as lines, held-out losses as points of the same
    colour."""
    from matplotlib.figure import Figure

    train, held_out = (_series(rows, kind) for kind in ("train", "held-out"))
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for name, points in train.items():
        drawn = axes.plot(*zip(*points, strict=True), lw=1, label=name)[0]
        if f"{name}_loss" in held_out:
            axes.plot(
                *zip(*held_out[f"{name}_loss"], strict=True),
                "o",
                ms=3.5,
                color=drawn.get_color(),
                label=f"{name}, held-out",
            )
    axes.set(title=title, xlabel="step", ylabel="loss (nats)")
    axes.grid(alpha=0.3)
    if train:
        axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, format="png", metadata={"Software": None})


def compare(curves: Mapping[str, Sequence[dict[str, Any]]], path: Path) -> None:
    """Draw the losses of several runs, a panel per loss of training."""
    from matplotlib.figure import Figure

    series = {run: _series(rows, "train") for run, rows in curves.items()}
    names = list(dict.fromkeys(name for found in series.values() for name in found))
    columns = min(2, max(1, len(names)))
    lines = max(1, -(-len(names) // columns))
    figure = Figure(figsize=(9, 3.2 * lines), dpi=110, layout="constrained")
    for number, name in enumerate(names, 1):
        axes = figure.add_subplot(lines, columns, number)
        for order, (run, found) in enumerate(series.items()):
            if name in found:
                axes.plot(*zip(*found[name], strict=True), lw=1.2, label=run, color=f"C{order}")
        axes.set(title=name, xlabel="step", ylabel="training loss (nats)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, format="png", metadata={"Software": None})


def _series(rows: Sequence[dict[str, Any]], kind: str) -> dict[str, list[tuple[int, float]]]:
    """(step, value) by name, of the rows of a kind."""
    series: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row["values"].items() if row["kind"] == kind else ():
            if name not in LEFT_OUT:
                series.setdefault(name, []).append((row["step"], value))
    return series
