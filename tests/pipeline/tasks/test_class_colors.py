"""Classes have colors that can be told apart, with any kind of color vision."""

import numpy as np
import pytest

from pipeline.tasks.segmentation import visualize


def smallest_distance(number: int, seen: np.ndarray | None = None) -> float:
    """In CIELAB, between the colors of the first classes."""
    points = visualize.lab(visualize.class_colors()[:number], seen)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return float(distances[np.triu_indices(number, 1)].min())


@pytest.mark.parametrize(("number", "seen", "seen_without_a_cone"), [(12, 40, 20), (150, 9, 4.5)])
def test_colors_are_far_from_each_other(
    number: int, seen: float, seen_without_a_cone: float
) -> None:
    assert smallest_distance(number) > seen
    for deficiency in visualize._DEFICIENCIES:
        assert smallest_distance(number, deficiency) > seen_without_a_cone


def test_lab_is_that_of_the_standard() -> None:
    known = visualize.lab(np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    assert known == pytest.approx(
        np.array([[100, 0, 0], [53.24, 80.09, 67.20], [0, 0, 0]]), abs=0.02
    )


def test_pixels_without_a_class_stay() -> None:
    pixels = np.full((1, 3, 3), 200, np.uint8)
    drawn = visualize.overlay(pixels, np.array([[0, 1, 255]], np.uint8))
    assert drawn[0, 0].tolist() == [200, 200, 200]
    blue = [round(255 * value) for value in visualize.class_color(1)]
    assert drawn[0, 1].tolist() == pytest.approx([0.2 * 200 + 0.8 * value for value in blue], abs=1)
    assert drawn[0, 2].tolist() != drawn[0, 1].tolist()
