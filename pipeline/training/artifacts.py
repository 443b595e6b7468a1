"""What every training run leaves behind."""

from pathlib import Path
from typing import Any

from torch import nn

from model import checkpoint
from pipeline.training import curves
from pipeline.utils import workdir


def finish(model: nn.Module, place: Path, title: str) -> tuple[Path, list[dict[str, Any]]]:
    """Write model, curve and its picture into a folder of the work folder `place`; returns it and
    the curve's rows."""
    folder = workdir.finished(place)
    checkpoint.save(model, folder / "model")
    rows = curves.read(place / "curve.jsonl")
    curves.write(folder / "curve.jsonl", rows)
    curves.plot(rows, folder / "curves.png", title=title)
    return folder, rows
