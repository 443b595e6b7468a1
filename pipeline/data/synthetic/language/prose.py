"""Sentences about the world, in the words of the captions, for its encyclopedia and its books."""

import numpy as np

from pipeline.data.synthetic.language import caption_grammar, facts, lexicon, names
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import scene
from pipeline.data.synthetic.scenes.scene import (
    BACKGROUNDS,
    COLORS,
    FAVORITES,
    SHAPES,
    TEXTURES,
    Scene,
)

_WEATHER = (
    "warm",
    "windy",
    "foggy",
    "bright",
    "rainy",
    "frosty",
    "mild",
    "stormy",
    "calm",
    "cloudy",
    "chilly",
    "dusty",
)
_TIMES = (
    "morning",
    "afternoon",
    "evening",
    "holiday",
    "market day",
    "winter day",
    "summer day",
    "Sunday",
)
_MANNERS = (
    "slowly",
    "gladly",
    "quietly",
    "carefully",
    "at once",
    "with a smile",
    "without a word",
    "in a hurry",
)
_GOODS = (
    "bread",
    "lanterns",
    "rope",
    "honey",
    "paper",
    "wool",
    "apples",
    "candles",
    "nails",
    "cheese",
    "ribbons",
    "pottery",
    "fish",
    "maps",
    "needles",
    "timber",
    "salt",
    "ink",
    "mirrors",
    "umbrellas",
)
_PAST = (
    "founded",
    "burnt down",
    "rebuilt",
    "first mapped",
    "bought",
    "flooded",
    "painted",
    "praised",
    "sold",
)


def pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    """One of several, all equally likely."""
    return options[int(rng.integers(len(options)))]


def some_scene(params: SyntheticParams, stream: str, rng: np.random.Generator) -> Scene:
    """A scene to write about; never a held-out combination."""
    return scene.sample(params.seed, stream, int(rng.integers(2**31)), params.image_size)


def depiction(world: Scene, rng: np.random.Generator) -> str:
    """A caption as a full sentence."""
    text = caption_grammar.caption(world, rng)
    return text[0].upper() + text[1:] + "."


def habit(rng: np.random.Generator) -> str:
    """What is usual in the world: the odds that pictures follow too."""
    background = pick(rng, BACKGROUNDS)
    place = " ".join(caption_grammar.choose(rng, lexicon.BACKGROUNDS[background]))
    shape = caption_grammar.choose(rng, lexicon.SHAPES[FAVORITES[background]])
    return pick(
        rng,
        (
            f"{place[0].upper()}{place[1:]} one often finds {caption_grammar.an(shape)} {shape}.",
            f"A {shape} is a common sight {place}.",
            f"More than any other shape, the {shape} is seen {place}.",
        ),
    )


def comparison(rng: np.random.Generator) -> str:
    """What follows from an arrangement: the grammar of left and right, above and below, large and
    small."""
    (a, b), (c, d) = rng.choice(SHAPES, 2, replace=False), rng.choice(COLORS, 2, replace=False)
    first, second = f"{c} {a}", f"{d} {b}"
    one = f"{caption_grammar.an(first)} {first}"
    return pick(
        rng,
        (
            f"If {one} is to the left of a {second}, the {second} is to the right of the {first}.",
            f"If {one} is above a {second}, the {second} is below the {first}.",
            f"When {one} is in front of a {second}, the {second} is half hidden by the {first}.",
            f"A small {second} fits inside a large {first}, and then the {first} is around the {second}.",
            f"A {a} can be {c}, and it can be {d}, but a plain {a} is never both.",
            f"A large {a} is larger than a medium {a}, and a small {a} is the smallest.",
            f"The {first} is bigger than the {second}, but no one calls it huge.",
        ),
    )


def synonym(rng: np.random.Generator) -> str:
    """Two words for the same."""
    table = (lexicon.SHAPES, lexicon.COLORS, lexicon.TEXTURES, lexicon.SIZES)[int(rng.integers(4))]
    words = pick(rng, tuple(words for words in table.values() if len(words) > 1))
    one, other = rng.choice(words, 2, replace=False)
    return pick(
        rng,
        (
            f"Another word for {one} is {other}.",
            f"What one calls {one}, another calls {other}.",
            f"Who says {one} means {other}, and who says {other} means {one}.",
        ),
    )


def remark(rng: np.random.Generator) -> str:
    """Something that is always true."""
    return (habit, comparison, fact, synonym)[int(rng.integers(4))](rng)


def fact(rng: np.random.Generator) -> str:
    """Common knowledge."""
    table = (facts.SHAPES, facts.COLORS, facts.TEXTURES, facts.BACKGROUNDS)[int(rng.integers(4))]
    return pick(rng, table[pick(rng, tuple(table))])


def event(rng: np.random.Generator) -> str:
    """Something from the history of the world's towns."""
    town, other, person = names.town(rng), names.town(rng), names.person(rng)
    year = int(rng.integers(1400, 1990))
    return pick(
        rng,
        (
            f"The town of {town} was {pick(rng, _PAST)} in {year}.",
            f"In {year} the {names.trade(rng)} {person} moved from {other} to {town}.",
            f"{person} of {town} was the first {names.trade(rng)} who drew one with a single line.",
            f"Merchants from {other} traded {pick(rng, _GOODS)} and {pick(rng, _GOODS)} for it until {year}.",
            f"On the coat of arms of {town} there is {thing(rng)} and {thing(rng)}.",
            f"{person} described it {pick(rng, _MANNERS)} in a letter to the {names.trade(rng)} {names.person(rng)}.",
            f"A museum in {town} keeps {thing(rng)}, made by {person} in {year}.",
        ),
    )


def deed(hero: str, rng: np.random.Generator) -> str:
    """Something that the hero of a story does."""
    person, town = names.person(rng), names.town(rng)
    return pick(
        rng,
        (
            f"It was a {pick(rng, _WEATHER)} {pick(rng, _TIMES)}, and {hero} walked to {town}.",
            f"{hero} bought {pick(rng, _GOODS)} and {pick(rng, _GOODS)} from a {names.trade(rng)}.",
            f"{hero} told {person} {pick(rng, _MANNERS)} about {thing(rng)}.",
            f'"What do you see?" asked {person} the {names.trade(rng)}.',
            f'"I am looking for {thing(rng)}," said {hero}.',
            f"{hero} put {thing(rng)} next to {thing(rng)} and laughed.",
            f"{person} had lost {thing(rng)} on the way to {town}.",
            f"They waited {pick(rng, _MANNERS)} until the {names.trade(rng)} came back.",
            f"Nobody in {town} had ever seen {thing(rng)} before.",
        ),
    )


def thing(rng: np.random.Generator) -> str:
    """A noun phrase: `a dotted blue star`."""
    words = [pick(rng, COLORS), pick(rng, SHAPES)]
    if rng.random() < 0.5:
        words.insert(0, pick(rng, TEXTURES))
    text = " ".join(words)
    return f"{caption_grammar.an(text)} {text}"
