"""The shapes as closed contours: the first is the outline, a second one is a hole."""

from functools import cache

import numpy as np


@cache
def contours(shape: str) -> tuple[np.ndarray, ...]:
    """Contours of a shape, each [points, 2] (x right, y down) within -1..1."""
    return _CONTOURS[shape]()


def _arc(
    radius: float = 1.0, start: float = 0.0, end: float = 360.0, x: float = 0.0, y: float = 0.0
) -> np.ndarray:
    angle = np.deg2rad(np.linspace(start, end, 40))
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def _regular(points: int, inner: float = 0.0) -> np.ndarray:
    """A regular polygon that stands on its base, or a star where `inner` is the radius of its
    notches."""
    count = 2 * points if inner else points
    angle = np.deg2rad(-90) + np.arange(count) * 2 * np.pi / count
    radius = np.where(np.arange(count) % 2 == 1, inner, 1.0) if inner else np.ones(count)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _square() -> np.ndarray:
    return np.array([(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)])


def _diamond() -> np.ndarray:
    return np.array([(0, -1), (0.68, 0), (0, 1), (-0.68, 0)])


def _triangle() -> np.ndarray:
    return np.array([(0, -0.95), (1, 0.85), (-1, 0.85)])


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 48)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x / 16.5, (y - 2.5) / 16.0], axis=1)


def _cross() -> np.ndarray:
    a = 0.36
    return np.array(
        [
            (-a, -1),
            (a, -1),
            (a, -a),
            (1, -a),
            (1, a),
            (a, a),
            (a, 1),
            (-a, 1),
            (-a, a),
            (-1, a),
            (-1, -a),
            (-a, -a),
        ]
    )


def _moon() -> np.ndarray:
    """A crescent, open to the right."""
    outside = _arc(1.0, 50, 310, 0.2)
    inside = _arc(0.78, 294, 66, 0.52)
    return np.concatenate([outside, inside])


def _flower() -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 90)
    radius = 0.5 + 0.5 * np.abs(np.cos(2.5 * angle)) ** 0.6
    return np.stack([radius * np.sin(angle), -radius * np.cos(angle)], axis=1)


_CONTOURS = {
    "circle": lambda: (_arc(0.95),),
    "square": lambda: (_square(),),
    "triangle": lambda: (_triangle(),),
    "diamond": lambda: (_diamond(),),
    "star": lambda: (_regular(5, 0.45) * 1.08 + (0, 0.06),),
    "heart": lambda: (_heart(),),
    "cross": lambda: (_cross(),),
    "ring": lambda: (_arc(0.97), _arc(0.5)),
    "moon": lambda: (_moon(),),
    "flower": lambda: (_flower(),),
}
