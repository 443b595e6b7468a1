"""Training curves as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

LEFT_OUT = ("step", "loss", "lr", "grad_norm", "finite")


def plot(rows: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """Draw the losses of a curve by step: training as lines, held-out losses as points of the same colour."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    train, held_out = ([{"step": row["step"], **row["values"]} for row in rows if row["kind"] == kind]
                       for kind in ("train", "held-out"))
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for name in [name for name in (train[0] if train else {}) if name not in LEFT_OUT]:
        line = axes.plot([row["step"] for row in train], [row[name] for row in train], lw=1, label=name)[0]
        points = [(row["step"], row[f"{name}_loss"]) for row in held_out if f"{name}_loss" in row]
        if points:
            axes.plot(*zip(*points, strict=True), "o", ms=3.5, color=line.get_color(), label=f"{name}, held-out")
    axes.set(title=title, xlabel="step", ylabel="loss (nats)")
    axes.grid(alpha=0.3)
    if train:
        axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, metadata={"Software": None})
