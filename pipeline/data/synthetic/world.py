"""The generated world: which of the things that can be drawn and named occur in it, and how often.

What is known, that is shapes with contours, colors with paint, words and facts, stands in `scenes`
and `language`; a world selects from it, in an order of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Annotated

from pipeline.config.limits import Interval, Share
from pipeline.data.synthetic.language import lexicon
from pipeline.errors import UserError

MOST_THINGS = 4  # of a scene
# The shape that occurs somewhat more often than chance on a background, in images and in the
# encyclopedia alike.
_FAVORITES = {
    "meadow": "flower",
    "beach": "ring",
    "desert": "triangle",
    "snow": "cross",
    "night": "moon",
    "bricks": "square",
    "sea": "circle",
    "wood": "heart",
    "sunset": "star",
    "mountains": "diamond",
}


@dataclass(frozen=True)
class _Names:
    """Lists of at least two different names that are known, `required` among them."""

    known: Mapping[str, object]
    required: str = ""

    def fault(self, value: Sequence[str]) -> str | None:
        """What should be in place of `value`; None where it is such a list."""
        if len(set(value)) < 2 or len(set(value)) < len(value) or set(value) - self.known.keys():
            return f"two or more of {', '.join(self.known)}, each once"
        if self.required and self.required not in value:
            return f"{self.required} among them"
        return None


@dataclass(frozen=True)
class _Widths:
    """Widths of at least two sizes with known names, in ascending order."""

    def fault(self, value: Mapping[str, float]) -> str | None:
        """What should be in place of `value`; None where they are such widths."""
        widths = list(value.values())
        if len(value) < 2 or value.keys() - lexicon.SIZES.keys():
            return f"two or more of {', '.join(lexicon.SIZES)}"
        return None if widths == sorted(set(widths)) else "the smallest first"


@dataclass(frozen=True)
class _Numbers:
    """Shares of the scenes with 1, 2, ... things."""

    def fault(self, value: Sequence[float]) -> str | None:
        """What should be in place of `value`; None where they are such shares."""
        if 1 <= len(value) <= MOST_THINGS and min(value) >= 0 and isclose(sum(value), 1):
            return None
        return f"1 to {MOST_THINGS} shares whose sum is 1"


@dataclass(frozen=True)
class Detail:
    """How often (0..1) a caption mentions what it may omit."""

    sizes: Share
    textures: Share
    backgrounds: Share
    relations: Share


@dataclass(frozen=True)
class World:
    """What scenes and texts consist of.

    sizes: width by name, a share of the image's shorter side; things: shares of the scenes with 1,
    2, ... things; overlaps: share of the scenes where the second thing covers a part of the first;
    usual: how often the first of several paraphrases is chosen; captions, alt_texts: what they
    mention; simple_statements: share of NLVR2's sets that are about `statement_backgrounds` alone.

    Raises:
        UserError: one of `statement_backgrounds` is none of `backgrounds`.
    """

    shapes: Annotated[list[str], _Names(lexicon.SHAPES)]
    colors: Annotated[list[str], _Names(lexicon.COLORS)]
    textures: Annotated[list[str], _Names(lexicon.TEXTURES, required="plain")]
    sizes: Annotated[dict[str, Annotated[float, Interval(0.1, 0.7)]], _Widths()]
    backgrounds: Annotated[list[str], _Names(lexicon.BACKGROUNDS)]
    things: Annotated[list[float], _Numbers()]
    overlaps: Share
    usual: Share
    captions: Detail
    alt_texts: Detail
    simple_statements: Share
    statement_backgrounds: Annotated[list[str], _Names(lexicon.BACKGROUNDS)]

    def __post_init__(self) -> None:
        if absent := set(self.statement_backgrounds) - set(self.backgrounds):
            raise UserError(
                "params.yaml: synthetic.world.statement_backgrounds: expected some of "
                f"synthetic.world.backgrounds, found {sorted(absent)}"
            )

    @property
    def smallest(self) -> str:
        """The name of the smallest size."""
        return next(iter(self.sizes))

    @property
    def middle(self) -> str:
        """The name of the middle size; of two sizes, the smaller one."""
        return list(self.sizes)[(len(self.sizes) - 1) // 2]

    @property
    def largest(self) -> str:
        """The name of the largest size."""
        return next(reversed(self.sizes))

    @property
    def marked_textures(self) -> list[str]:
        """The textures that are not plain."""
        return [texture for texture in self.textures if texture != "plain"]

    @property
    def words(self) -> dict[str, lexicon.Paraphrases]:
        """The words for the attributes of things, by kind of attribute."""
        return {
            "shapes": {name: lexicon.SHAPES[name] for name in self.shapes},
            "colours": {name: lexicon.COLORS[name] for name in self.colors},
            "textures": {name: lexicon.TEXTURES[name] for name in self.textures},
            "sizes": {name: lexicon.SIZES[name] for name in self.sizes},
        }

    def favorite(self, background: str) -> str:
        """The shape that is frequent on a background; where the world lacks the one that usually
        is, its shapes take turns."""
        shape = _FAVORITES[background]
        if shape in self.shapes:
            return shape
        return self.shapes[self.backgrounds.index(background) % len(self.shapes)]
