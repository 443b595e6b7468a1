"""Generated worlds: medium's, and one of fewer things that are named less variously."""

from pipeline.config import params
from pipeline.data.synthetic.world import Detail, World
from tests.helpers import tiny

FULL = params.convert(World, tiny.preset("medium")["synthetic"]["world"], "synthetic.world")
POOR = World(
    shapes=["circle", "square", "triangle", "star", "heart", "cross"],
    colors=["red", "yellow", "green", "blue", "pink", "black"],
    textures=["plain", "striped", "dotted"],
    sizes={"small": 0.34, "large": 0.5},
    backgrounds=["meadow", "sea", "snow", "night", "bricks", "desert"],
    things=[0.15, 0.85],
    overlaps=0.1,
    usual=0.95,
    captions=Detail(sizes=0.3, textures=0.6, backgrounds=1.0, relations=0.8),
    alt_texts=Detail(sizes=0.2, textures=0.4, backgrounds=0.9, relations=0.8),
    simple_statements=0.75,
    statement_backgrounds=["night", "snow", "desert", "meadow"],
)
