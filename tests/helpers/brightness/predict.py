"""Evaluation of brightness."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.heads.brightness import Brightness
from pipeline.tasks.brightness import visualize
from pipeline.tasks.brightness.training.data import InputParams, evaluation_batches
from pipeline.tasks.brightness.training.metrics import errors

from pipeline.tasks import Folders
from pipeline.tasks.batch_results import BatchMaps


@dataclass(frozen=True)
class EvaluateParams:
    """Block `evaluate.<data>`."""

    split: str
    batch: int
    threads: int
    precision: str


def evaluate(
    model: Brightness,
    folders: Folders,
    inputs: InputParams,
    params: EvaluateParams,
    out: Path,
    maps: BatchMaps,
) -> dict[str, Any]:
    """Mean absolute error on a split; `errors.png` in `out`."""
    batches = evaluation_batches(folders.shards, params.split, inputs.image_size, params.batch)
    differences = errors(model, batches)
    visualize.draw(differences.tolist(), out / "errors.png")
    return {"images": len(differences), "error": differences.abs().mean().item()}


def headline(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of a result that belong on one line."""
    return {"error": result["error"], "score": -result["error"]}
