"""The class of each pixel of a scene's image: the shapes of things, and the background around
them."""

import numpy as np
from PIL import Image

from pipeline.data.synthetic.scenes import render
from pipeline.data.synthetic.scenes.scene import Scene
from pipeline.data.synthetic.world import World

# Coverage by a thing, 0..255. Between both, at its edge, where its color mixes with the one behind,
# a pixel has no class.
_TOUCHED, _COVERED = 52, 204


def classes(world: World) -> tuple[str, ...]:
    """Names of the classes: the first has value 1 in a mask; 0 is no class."""
    return (*world.shapes, *world.backgrounds)


def mask(scene: Scene, world: World) -> Image.Image:
    """The classes of the pixels of `render.render` as an image of mode L, values from 0."""
    background = value(scene.background, world)
    values = np.full((scene.height, scene.width), background, dtype=np.uint8)
    for thing in scene.things:
        coverage = Image.new("L", (scene.width, scene.height), 0)
        _, sprite, corner = render.draw_thing(thing, scene)
        coverage.paste(sprite, corner)
        share = np.asarray(coverage)
        values[share >= _TOUCHED] = 0
        values[share >= _COVERED] = value(thing.shape, world)
    return Image.fromarray(values)


def value(name: str, world: World) -> int:
    """The value of a shape or a background in a mask, from 1."""
    return classes(world).index(name) + 1
