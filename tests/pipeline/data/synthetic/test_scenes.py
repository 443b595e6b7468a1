"""Scenes: combinations for evaluation, attributes, positions, and their images."""

from collections import Counter
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

from pipeline.data.synthetic import captioned_images
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render, scene
from pipeline.data.synthetic.scenes.scene import Scene, Thing

PARAMS = SyntheticParams(5, 48, 85, {})
OPPOSITES = {
    "left": "right",
    "right": "left",
    "above": "below",
    "below": "above",
    "around": "inside",
    "behind": "front",
}


def sampled_combinations(stream: str, number: int, **options) -> set[str]:
    return {scene.combination(scene.sample(1, stream, i, 48, **options)) for i in range(number)}


def test_evaluation_combinations_occur_in_no_training_scene() -> None:
    training = sampled_combinations("coco/train", 300) | sampled_combinations("vg/train", 300)
    training |= sampled_combinations("imagenet22k/x", 100, single=("star", "red"))
    assert not training & sampled_combinations("flickr30k/test", 100, evaluation=True)
    for part in ("train", "val", "test"):
        of_coco = captioned_images.scene_at(PARAMS, "coco", part, 0)
        assert of_coco != captioned_images.scene_at(PARAMS, "flickr30k", part, 0)
    for part, expected in (("train", False), ("restval", False), ("val", True), ("test", True)):
        of_coco = captioned_images.scene_at(PARAMS, "coco", part, 1)
        assert scene.is_evaluation(of_coco) == expected


def test_combinations_do_not_depend_on_order_and_position() -> None:
    star = Thing("star", "red", "plain", "small", 0.2, 0.3, 0)
    ring = Thing("ring", "blue", "dotted", "large", 0.7, 0.6, 5)
    moved = replace(star, x=0.8, y=0.8, tilt=9.0)
    first, second = Scene("sea", (star, ring), 48, 48, 1), Scene("sea", (ring, moved), 40, 48, 2)
    assert scene.combination(first) == scene.combination(second)
    assert scene.combination(first) != scene.combination(replace(first, background="snow"))


def test_every_attribute_and_nearly_every_pair_occurs_in_training() -> None:
    seen: Counter = Counter()
    for i in range(1500):
        sample = scene.sample(2, "cc3m/train", i, 48)
        for thing in sample.things:
            attributes = (thing.shape, thing.color, thing.texture, thing.size, sample.background)
            seen.update(attributes)
            seen.update(combinations(attributes, 2))
    values = (scene.SHAPES, scene.COLORS, scene.TEXTURES, tuple(scene.SIZES), scene.BACKGROUNDS)
    for group in values:
        assert all(seen[value] for value in group)
    pairs = []
    for a, b in combinations(values, 2):
        pairs += product(a, b)
    assert sum(seen[pair] > 0 for pair in pairs) > 0.99 * len(pairs)


def test_things_are_inside_the_image_and_apart() -> None:
    for i in range(300):
        sample = scene.sample(3, "x", i, 60)
        assert 1 <= len(sample.things) <= 4 and max(sample.width, sample.height) == 60
        for thing in sample.things:
            left, top, width, height = render.box(thing, sample)
            assert left >= -1 and left + width <= sample.width + 1
            assert top >= -1 and top + height <= sample.height + 1
        for a, b in combinations(range(len(sample.things)), 2):
            assert scene.relation(sample, b, a) == OPPOSITES[scene.relation(sample, a, b)]


@pytest.mark.parametrize(
    ("color", "rgb"), [("red", (222, 28, 36)), ("blue", (32, 84, 224)), ("white", (250, 250, 250))]
)
def test_a_plain_thing_has_its_color_at_its_position(color: str, rgb: tuple[int, int, int]) -> None:
    thing = Thing("square", color, "plain", "large", 0.3, 0.6, 0)
    pixels = np.asarray(render.render(Scene("night", (thing,), 72, 72, 4))).astype(int)
    assert pixels.shape == (72, 72, 3)
    assert np.abs(pixels[43, 22] - rgb).max() < 20
    assert np.abs(pixels[10, 60] - rgb).max() > 100


def test_the_background_is_seen_through_a_ring() -> None:
    ring = Thing("ring", "black", "plain", "large", 0.5, 0.5, 0)
    assert np.asarray(render.render(Scene("snow", (ring,), 72, 72, 4)))[36, 36].min() > 150


def test_later_things_are_in_front() -> None:
    back = Thing("square", "red", "plain", "large", 0.5, 0.5, 0)
    front = Thing("square", "blue", "plain", "small", 0.5, 0.5, 0)
    both = Scene("sea", (back, front), 72, 72, 1)
    assert scene.relation(both, 1, 0) == "inside" and scene.relation(both, 0, 1) == "around"
    assert np.asarray(render.render(both))[36, 36].argmax() == 2
