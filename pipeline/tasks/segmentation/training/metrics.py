"""Mean intersection over union as ADE20K's official evaluator counts it.

Pixels whose truth is 0 are left out of prediction and truth alike. A class's intersections and
unions are summed over the whole set before they are divided; the mean goes over all classes, and
one that never occurs counts 0.
"""

import numpy as np

INTERSECTION, PREDICTED, TRUTH = range(3)


def areas(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Pixels by class, int64 [3, classes]: intersection, predicted, truth.

    predicted: classes from 1, truth: likewise and 0 for none; integers of one shape.
    """
    labeled = truth > 0
    predicted, truth = predicted[labeled], truth[labeled]
    counted = (truth[predicted == truth], predicted, truth)
    return np.stack([np.bincount(values, minlength=classes + 1)[1:] for values in counted])


def ious(total: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, [..., classes], from summed areas [..., 3,
    classes]."""
    intersection = total[..., INTERSECTION, :]
    union = total[..., PREDICTED, :] + total[..., TRUTH, :] - intersection
    return intersection / np.maximum(union, 1)


def scores(total: np.ndarray) -> dict[str, float]:
    """`miou` and `pixel_accuracy`, shares in 0..1, from summed areas [3, classes]."""
    return {
        "miou": float(ious(total).mean()),
        "pixel_accuracy": float(total[INTERSECTION].sum() / max(total[TRUTH].sum(), 1)),
    }
