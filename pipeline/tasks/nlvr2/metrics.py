"""The two official measures of NLVR2: accuracy over examples, consistency over statements."""

from collections import defaultdict
from collections.abc import Sequence


def scores(
    predictions: Sequence[bool], labels: Sequence[bool], groups: Sequence[str]
) -> dict[str, float]:
    """Shares in 0..1: of right examples, and of groups (examples of one statement) all of whose
    examples are right."""
    right = [
        bool(prediction) == bool(label)
        for prediction, label in zip(predictions, labels, strict=True)
    ]
    whole: dict[str, bool] = defaultdict(lambda: True)
    for group, hit in zip(groups, right, strict=True):
        whole[group] &= hit
    return {"accuracy": sum(right) / len(right), "consistency": sum(whole.values()) / len(whole)}


def chance(groups: Sequence[str]) -> dict[str, float]:
    """What coin tosses are expected to score."""
    sizes: dict[str, int] = defaultdict(int)
    for group in groups:
        sizes[group] += 1
    return {"accuracy": 0.5, "consistency": sum(0.5**size for size in sizes.values()) / len(sizes)}
