"""Sentences in the words of the captions, for the encyclopedia and the books."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from pipeline.data.synthetic.language import caption_grammar, facts, lexicon, names
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import scene
from pipeline.data.synthetic.scenes.scene import Scene
from pipeline.data.synthetic.world import World

T = TypeVar("T")
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


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def some_scene(params: SyntheticParams, stream: str, rng: np.random.Generator) -> Scene:
    """A scene to write about; its combination is never one for validation and test."""
    return scene.sample(
        params.seed, stream, int(rng.integers(2**31)), params.image_size, params.world
    )


def depiction(depicted: Scene, rng: np.random.Generator, world: World) -> str:
    """A caption as a full sentence."""
    text = caption_grammar.caption(depicted, rng, world)
    return text[0].upper() + text[1:] + "."


def habit(rng: np.random.Generator, world: World) -> str:
    """Which shape is frequent on a background, as it is in the images."""
    background = pick(rng, world.backgrounds)
    place = " ".join(caption_grammar.choose(rng, lexicon.BACKGROUNDS[background], world.usual))
    shape = caption_grammar.choose(rng, lexicon.SHAPES[world.favorite(background)], world.usual)
    return pick(
        rng,
        (
            f"{place[0].upper()}{place[1:]} one often finds {caption_grammar.an(shape)} {shape}.",
            f"A {shape} is a common sight {place}.",
            f"More than any other shape, the {shape} is seen {place}.",
        ),
    )


def comparison(rng: np.random.Generator, world: World) -> str:
    """What follows from an arrangement: left and right, above and below, large and small are
    opposites."""
    a, b = rng.choice(world.shapes, 2, replace=False)
    c, d = rng.choice(world.colors, 2, replace=False)
    first, second = f"{c} {a}", f"{d} {b}"
    a_first = f"{caption_grammar.an(first)} {first}"
    return pick(
        rng,
        (
            f"If {a_first} is to the left of a {second}, the {second} is to the right of the {first}.",
            f"If {a_first} is above a {second}, the {second} is below the {first}.",
            f"When {a_first} is in front of a {second}, the {second} is half hidden by the {first}.",
            f"A small {second} fits inside a large {first}, and then the {first} is around the {second}.",
            f"A {a} can be {c}, and it can be {d}, but a plain {a} is never both.",
            f"A large {a} is larger than a medium {a}, and a small {a} is the smallest.",
            f"The {first} is bigger than the {second}, but no one calls it huge.",
        ),
    )


def synonym(rng: np.random.Generator, world: World) -> str:
    """Two words with the same meaning."""
    groups = []
    for table in world.words.values():
        if group := [words for words in table.values() if len(words) > 1]:
            groups.append(group)
    words = pick(rng, pick(rng, groups))
    first, second = rng.choice(words, 2, replace=False)
    return pick(
        rng,
        (
            f"Another word for {first} is {second}.",
            f"What one calls {first}, another calls {second}.",
            f"Who says {first} means {second}, and who says {second} means {first}.",
        ),
    )


def remark(rng: np.random.Generator, world: World) -> str:
    """A sentence that is always true."""
    return pick(rng, (habit, comparison, fact, synonym))(rng, world)


def fact(rng: np.random.Generator, world: World) -> str:
    """Common knowledge."""
    table = pick(rng, list(facts.about(world).values()))
    return pick(rng, table[pick(rng, list(table))])


def event(rng: np.random.Generator, world: World) -> str:
    """Something from the history of the towns."""
    town, other, person = names.town(rng), names.town(rng), names.person(rng)
    year = int(rng.integers(1400, 1990))
    return pick(
        rng,
        (
            f"The town of {town} was {pick(rng, _PAST)} in {year}.",
            f"In {year} the {names.trade(rng)} {person} moved from {other} to {town}.",
            f"{person} of {town} was the first {names.trade(rng)} who drew one with a single line.",
            f"Merchants from {other} traded {pick(rng, _GOODS)} and {pick(rng, _GOODS)} for it until {year}.",
            f"On the coat of arms of {town} there is {thing(rng, world)} and {thing(rng, world)}.",
            f"{person} described it {pick(rng, _MANNERS)} in a letter to the {names.trade(rng)} {names.person(rng)}.",
            f"A museum in {town} keeps {thing(rng, world)}, made by {person} in {year}.",
        ),
    )


def deed(hero: str, rng: np.random.Generator, world: World) -> str:
    """An action or saying in a story about a hero."""
    person, town = names.person(rng), names.town(rng)
    return pick(
        rng,
        (
            f"It was a {pick(rng, _WEATHER)} {pick(rng, _TIMES)}, and {hero} walked to {town}.",
            f"{hero} bought {pick(rng, _GOODS)} and {pick(rng, _GOODS)} from a {names.trade(rng)}.",
            f"{hero} told {person} {pick(rng, _MANNERS)} about {thing(rng, world)}.",
            f'"What do you see?" asked {person} the {names.trade(rng)}.',
            f'"I am looking for {thing(rng, world)}," said {hero}.',
            f"{hero} put {thing(rng, world)} next to {thing(rng, world)} and laughed.",
            f"{person} had lost {thing(rng, world)} on the way to {town}.",
            f"They waited {pick(rng, _MANNERS)} until the {names.trade(rng)} came back.",
            f"Nobody in {town} had ever seen {thing(rng, world)} before.",
        ),
    )


def thing(rng: np.random.Generator, world: World) -> str:
    """A noun phrase: `a dotted blue star`."""
    words = [pick(rng, world.colors), pick(rng, world.shapes)]
    if rng.random() < 0.5:
        words.insert(0, pick(rng, world.textures))
    text = " ".join(words)
    return f"{caption_grammar.an(text)} {text}"
