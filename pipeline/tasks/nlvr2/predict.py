"""What a model says of a split, and the official file of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from model.heads.nlvr2 import NLVR2
from pipeline.tasks.nlvr2.data import Examples, normalised
from pipeline.utils import files


@dataclass
class Predictions:
    """Row by row, in the order of the shards."""

    keys: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    truth: list[float] = field(default_factory=list)  # probability that the statement is true

    def answers(self) -> list[bool]:
        """True where truth is at least as probable as untruth."""
        return [truth >= 0.5 for truth in self.truth]


def predict(model: NLVR2, data: Iterable[Examples], *, shuffled: bool = False) -> Predictions:
    """Ask the model; `shuffled`: with the pictures of the example before, which nearly always has
    another statement, since shards are in random order."""
    device, told = next(model.parameters()).device, Predictions()
    for batch in data:
        pixels = batch.pixels.roll(1, dims=0) if shuffled else batch.pixels
        truth = model.truth(
            normalised(pixels.to(device)), batch.ids.to(device), batch.mask.to(device)
        )
        told.keys += batch.keys
        told.groups += batch.groups
        told.labels += batch.labels.bool().tolist()
        told.truth += truth.tolist()
    return told


def write(parts: Iterable[Predictions], path: Path) -> None:
    """The official evaluator's lines `identifier,prediction`, without a heading."""
    lines = [
        f"{key},{answer}\n"
        for told in parts
        for key, answer in zip(told.keys, told.answers(), strict=True)
    ]
    with files.replacing(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
