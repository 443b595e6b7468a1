"""What a model predicts on a split, and the two official measures of NLVR2: accuracy over
examples, consistency over statements."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.heads.nlvr2 import NLVR2
from pipeline.tasks.batch_results import BatchMap, directly
from pipeline.tasks.nlvr2.training.data import Examples, normalized
from pipeline.utils import finite

SPLITS = {"dev": "val", "test_p": "test"}  # the official names, and those of the shards


@dataclass
class Predictions:
    """Of the examples of a split, in order."""

    keys: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)  # that the statement is true

    def answers(self) -> list[bool]:
        """True where a statement is more probably true than false; of equals the first class, false,
        as `argmax` has it."""
        return [probability > 0.5 for probability in self.probabilities]

    def scores(self) -> dict[str, float]:
        """Accuracy and consistency."""
        return scores(self.answers(), self.labels, self.groups)


@torch.inference_mode()
def predict(
    model: NLVR2, batches: Iterable[Examples], run: BatchMap = directly, *, shuffled: bool = False
) -> Predictions:
    """Predictions for all examples; `shuffled`: each with the images of the example before, which
    nearly always has another statement, since shards are in random order.

    Raises:
        NonFiniteError: a logit is NaN or infinite.
    """
    device, predictions = next(model.parameters()).device, Predictions()

    def decide(batch: Examples) -> tuple[Tensor]:
        pixels = batch.pixels.roll(1, dims=0) if shuffled else batch.pixels
        logits = model(normalized(pixels.to(device)), batch.ids.to(device), batch.mask.to(device))
        probabilities = finite.checked(logits, "logits of statements").softmax(dim=1)
        return (probabilities[:, 1].cpu(),)

    for batch, (probabilities,) in run(decide, batches):
        predictions.keys += batch.keys
        predictions.groups += batch.groups
        predictions.labels += batch.labels.bool().tolist()
        predictions.probabilities += probabilities.tolist()
    return predictions


def scores(
    answers: Sequence[bool], labels: Sequence[bool], groups: Sequence[str]
) -> dict[str, float]:
    """Shares in 0..1: of right examples, and of groups (examples of one statement) all of whose
    examples are right."""
    right = 0
    group_right: dict[str, bool] = {}
    for answer, label, group in zip(answers, labels, groups, strict=True):
        is_right = bool(answer) == bool(label)
        right += is_right
        group_right[group] = group_right.get(group, True) and is_right
    return {
        "accuracy": right / len(labels),
        "consistency": sum(group_right.values()) / len(group_right),
    }
