"""Scenes: combinations for evaluation, attributes, positions, and their images."""

from collections import Counter
from dataclasses import asdict, replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

from pipeline.config import params
from pipeline.data.synthetic import captioned_images
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import masks, render, scene
from pipeline.data.synthetic.scenes.scene import Scene, Thing
from pipeline.data.synthetic.world import World
from pipeline.errors import UserError
from tests.helpers import tiny
from tests.helpers.blocks import replaced
from tests.helpers.worlds import FULL, POOR

PARAMS = SyntheticParams(5, 48, 85, {}, world=FULL)
OPPOSITES = {
    "left": "right",
    "right": "left",
    "above": "below",
    "below": "above",
    "around": "inside",
    "behind": "front",
}


def sampled_combinations(stream: str, number: int, **options) -> set[str]:
    return {
        scene.combination(scene.sample(1, stream, i, 48, FULL, **options)) for i in range(number)
    }


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
    star = Thing("star", "red", "plain", "small", 0.2, 0.3, 0, FULL.sizes["small"])
    ring = Thing("ring", "blue", "dotted", "large", 0.7, 0.6, 5, FULL.sizes["large"])
    moved = replace(star, x=0.8, y=0.8, tilt=9.0)
    first, second = Scene("sea", (star, ring), 48, 48, 1), Scene("sea", (ring, moved), 40, 48, 2)
    assert scene.combination(first) == scene.combination(second)
    assert scene.combination(first) != scene.combination(replace(first, background="snow"))


def test_every_attribute_and_nearly_every_pair_occurs_in_training() -> None:
    seen: Counter = Counter()
    for i in range(1500):
        sample = scene.sample(2, "cc3m/train", i, 48, FULL)
        for thing in sample.things:
            attributes = (thing.shape, thing.color, thing.texture, thing.size, sample.background)
            seen.update(attributes)
            seen.update(combinations(attributes, 2))
    values = (FULL.shapes, FULL.colors, FULL.textures, list(FULL.sizes), FULL.backgrounds)
    for group in values:
        assert all(seen[value] for value in group)
    pairs = []
    for a, b in combinations(values, 2):
        pairs += product(a, b)
    assert sum(seen[pair] > 0 for pair in pairs) > 0.99 * len(pairs)


@pytest.mark.parametrize("world", [FULL, POOR])
def test_things_are_inside_the_image_and_apart(world: World) -> None:
    for i in range(300):
        sample = scene.sample(3, "x", i, 60, world)
        assert (
            1 <= len(sample.things) <= len(world.things) and max(sample.width, sample.height) == 60
        )
        for thing in sample.things:
            left, top, width, height = render.box(thing, sample)
            assert left >= -1 and left + width <= sample.width + 1
            assert top >= -1 and top + height <= sample.height + 1
        for a, b in combinations(range(len(sample.things)), 2):
            assert scene.relation(sample, b, a) == OPPOSITES[scene.relation(sample, a, b)]


def test_scenes_are_of_their_world() -> None:
    samples = [scene.sample(4, "x", i, 48, POOR) for i in range(400)]
    things = [thing for sample in samples for thing in sample.things]
    assert {sample.background for sample in samples} == set(POOR.backgrounds)
    for name, known in (("shape", POOR.shapes), ("color", POOR.colors), ("texture", POOR.textures)):
        assert {getattr(thing, name) for thing in things} == set(known)
    assert {thing.size: thing.width for thing in things} == POOR.sizes
    numbers = Counter(len(sample.things) for sample in samples)
    assert numbers.keys() == {1, 2} and 0.08 < numbers[1] / 400 < 0.25


def test_a_world_in_which_nothing_fits_is_refused() -> None:
    crowded = replace(FULL, sizes={"small": 0.49, "large": 0.5}, things=[0, 0, 0, 1])
    with pytest.raises(UserError, match=r"synthetic\.world: no scene in"):
        scene.sample(1, "x", 0, 48, crowded)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("shapes", ["circle", "blob"], "two or more of circle, square"),
        ("colors", ["red"], "two or more of red"),
        ("colors", ["red", "red"], "each once"),
        ("textures", ["striped", "dotted"], "plain among them"),
        ("sizes", {"small": 0.3, "huge": 0.4}, "two or more of small, medium, large"),
        ("sizes", {"small": 0.4, "large": 0.3}, "the smallest first"),
        ("sizes.large", 0.8, "at least 0.1 and at most 0.7"),
        ("things", [0.5, 0.6], "1 to 4 shares whose sum is 1"),
        ("usual", 1.5, "at least 0 and at most 1"),
        ("captions.sizes", -1.0, "at least 0 and at most 1"),
        ("statement_backgrounds", ["night", "dust"], "found ['dust']"),
        ("statement_backgrounds", ["night"], "two or more of meadow"),
    ],
)
def test_what_no_world_has_is_named(key: str, value: Any, words: str) -> None:
    tree = replaced(asdict(PARAMS), ("world", *key.split(".")), value)
    with pytest.raises(UserError) as error:
        params.convert(SyntheticParams, tree, "synthetic")
    line = str(error.value)
    assert line.startswith(f"params.yaml: synthetic.world.{key}: ") and words in line
    assert "\n" not in line


def test_presets_name_the_classes_of_their_generated_masks() -> None:
    for name in ("small", "medium"):
        tree = tiny.preset(name)
        classes = masks.classes(params.convert(SyntheticParams, tree["synthetic"], "x").world)
        assert tree["evaluate"]["ade20k"]["names"].split(", ") == list(classes)
        assert tree["finetune"]["ade20k"]["head"]["classes"] == len(classes)


@pytest.mark.parametrize(
    ("color", "rgb"), [("red", (222, 28, 36)), ("blue", (32, 84, 224)), ("white", (250, 250, 250))]
)
def test_a_plain_thing_has_its_color_at_its_position(color: str, rgb: tuple[int, int, int]) -> None:
    thing = Thing("square", color, "plain", "large", 0.3, 0.6, 0, FULL.sizes["large"])
    pixels = np.asarray(render.render(Scene("night", (thing,), 72, 72, 4))).astype(int)
    assert pixels.shape == (72, 72, 3)
    assert np.abs(pixels[43, 22] - rgb).max() < 20
    assert np.abs(pixels[10, 60] - rgb).max() > 100


def test_the_background_is_seen_through_a_ring() -> None:
    ring = Thing("ring", "black", "plain", "large", 0.5, 0.5, 0, FULL.sizes["large"])
    assert np.asarray(render.render(Scene("snow", (ring,), 72, 72, 4)))[36, 36].min() > 150


def test_later_things_are_in_front() -> None:
    back = Thing("square", "red", "plain", "large", 0.5, 0.5, 0, FULL.sizes["large"])
    front = Thing("square", "blue", "plain", "small", 0.5, 0.5, 0, FULL.sizes["small"])
    both = Scene("sea", (back, front), 72, 72, 1)
    assert scene.relation(both, 1, 0) == "inside" and scene.relation(both, 0, 1) == "around"
    assert np.asarray(render.render(both))[36, 36].argmax() == 2
