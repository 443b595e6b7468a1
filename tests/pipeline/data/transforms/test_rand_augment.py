"""RandAugment for pairs: what each operation does at its magnitude, and that hues keep their
names."""

import colorsys

import numpy as np
from PIL import Image

from pipeline.data.transforms.rand_augment import OPERATIONS, RandAugmentParams, rand_augment
from pipeline.utils.seeds import generator

LEVEL = 0.7  # magnitude 7 of 10


def scene():
    array = np.full((40, 40, 3), (200, 40, 40), np.uint8)
    array[10:20, 15:30] = (40, 60, 210)
    return Image.fromarray(array)


def test_no_operation_leaves_the_image_as_it_is():
    image = scene()
    assert rand_augment(image, RandAugmentParams(0, 7, 0.5), generator(1)) is image
    assert rand_augment(image, RandAugmentParams(2, 7, 0.0), generator(1)) is image


def test_the_same_generator_gives_the_same_image_and_others_differ():
    params = RandAugmentParams(2, 7, 0.5)
    made = [
        np.asarray(rand_augment(scene(), params, generator(seed))).tobytes()
        for seed in [*range(30), 3]
    ]
    assert made[3] == made[-1] and len(set(made)) >= 10


def test_translation_is_seven_pixels_and_leaves_gray_behind():
    translate_x = OPERATIONS[7]
    moved = np.asarray(translate_x(scene(), LEVEL, 1))
    assert (moved[:, -7:] == 128).all()
    assert (moved[:, :33] == np.asarray(scene())[:, 7:]).all()


def test_brightness_is_raised_by_a_factor_of_136_percent():
    brightened = np.asarray(OPERATIONS[3](Image.new("RGB", (4, 4), (100, 50, 20)), LEVEL, 1))
    assert brightened[0, 0].tolist() == [136, 68, 27]


def test_rotation_is_21_degrees():
    rotated = OPERATIONS[9](scene(), LEVEL, 1)
    assert (
        np.asarray(rotated).tobytes()
        == np.asarray(
            scene().rotate(21, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128))
        ).tobytes()
    )


def test_no_operation_turns_one_color_name_into_another():
    for operation in OPERATIONS:
        for sign in (1, -1):
            red, green, blue = np.asarray(operation(scene(), LEVEL, sign))[20, 5] / 255
            hue = colorsys.rgb_to_hsv(red, green, blue)[0]
            assert min(hue, 1 - hue) < 0.03, operation
