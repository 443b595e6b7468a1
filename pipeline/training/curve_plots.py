"""Loss curves as images: one run's, and those of several runs side by side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.training.curves import CurveKind, CurveRow

NO_LOSSES = ("step", "loss", "lr", "grad_norm", "finite")  # values that are not plotted
PANELS = {
    "mlm": "MLM: masked words of texts",
    "mim": "MIM: masked patches of images",
    "mvlm_text": "MVLM: masked words of captions",
    "mvlm_image": "MVLM: masked patches of images with captions",
}

Series = dict[str, list[tuple[int, float]]]  # (step, value) by name


def plot(rows: Sequence[CurveRow], path: Path, title: str) -> None:
    """Draw the losses of a run by step: training as lines, validation as points of the same
    color."""
    from matplotlib.figure import Figure

    train, validation = _series(rows, "train"), _series(rows, "validation")
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for name, points in train.items():
        line = axes.plot(*zip(*points, strict=True), lw=1, label=name)[0]
        if f"{name}_loss" in validation:
            axes.plot(
                *zip(*validation[f"{name}_loss"], strict=True),
                "o",
                ms=3.5,
                color=line.get_color(),
                label=f"{name}, validation",
            )
    axes.set(title=title, xlabel="step", ylabel="loss (nats)")
    axes.grid(alpha=0.3)
    if train:
        axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, format="png", metadata={"Software": None})


def compare(curves: Mapping[str, Sequence[CurveRow]], path: Path) -> None:
    """Draw the training losses of runs by name of the run, a panel per loss: of those that have as
    many steps as most have, since others' learning rates differ at every step."""
    from matplotlib.figure import Figure

    steps = Counter(rows[-1].step for rows in curves.values() if rows)
    usual = steps.most_common(1)[0][0] if steps else 0
    compared = {run: rows for run, rows in curves.items() if rows and rows[-1].step == usual}
    runs = {run: _series(rows, "train") for run, rows in compared.items()}
    losses = list(dict.fromkeys(name for series in runs.values() for name in series))
    columns = min(2, max(1, len(losses)))
    lines = max(1, -(-len(losses) // columns))
    figure = Figure(figsize=(9, 3.2 * lines), dpi=110, layout="constrained")
    for panel, name in enumerate(losses, 1):
        axes = figure.add_subplot(lines, columns, panel)
        for index, (run, series) in enumerate(runs.items()):
            if name in series:
                axes.plot(*zip(*series[name], strict=True), lw=1.2, label=run, color=f"C{index}")
        axes.set(title=PANELS.get(name, name), xlabel="step", ylabel="training loss (nats)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, format="png", metadata={"Software": None})


def _series(rows: Sequence[CurveRow], kind: CurveKind) -> Series:
    """The losses in the rows of a kind."""
    series: Series = {}
    for row in rows:
        if row.kind != kind:
            continue
        for name, value in row.values.items():
            if name not in NO_LOSSES:
                series.setdefault(name, []).append((row.step, value))
    return series
