"""A histogram of errors."""

from collections.abc import Sequence
from pathlib import Path


def draw(errors: Sequence[float], path: Path) -> None:
    """Predicted minus true brightness."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3), dpi=80)
    figure.subplots().hist(errors)
    figure.savefig(path, metadata={"Software": None})
