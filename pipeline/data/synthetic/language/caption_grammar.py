"""Captions of a scene with paraphrases, and short phrases about its regions.

`parser` recovers the meaning of every caption exactly.
"""

from collections.abc import Sequence
from itertools import permutations
from typing import TypeVar

import numpy as np

from pipeline.data.synthetic.language import lexicon
from pipeline.data.synthetic.scenes.scene import Scene, Thing, position, relation
from pipeline.data.synthetic.world import Detail, World

T = TypeVar("T")
VERBS = ("is", "lies", "stands", "rests", "sits")
_OVERLAPS = ("inside", "around", "front", "behind")  # relations of things that overlap
_LONGEST = 22  # words


def captions(scene: Scene, number: int, rng: np.random.Generator, world: World) -> list[str]:
    """`number` captions of at most 22 words, as annotators of Flickr30k and COCO write them: one
    full sentence each."""
    return [_sentence(caption(scene, rng, world)) for _ in range(number)]


def alt_text(scene: Scene, rng: np.random.Generator, world: World) -> str:
    """One caption in the style of CC3M: lower case, blanks around punctuation marks."""
    text = _caption(scene, rng, world, world.alt_texts)
    return text.replace(",", " ,").replace(":", " :") + " ."


def caption(scene: Scene, rng: np.random.Generator, world: World) -> str:
    """A caption of at most 22 words in lower case, without a full stop."""
    return _caption(scene, rng, world, world.captions)


def _caption(scene: Scene, rng: np.random.Generator, world: World, detail: Detail) -> str:
    while True:
        if len(scene.things) == 1:
            text = _alone(scene, rng, world, detail)
        else:
            compose = _related if rng.random() < detail.relations else _listed
            text = compose(scene, rng, world, detail)
        if len(text.split()) <= _LONGEST:
            return text


def phrase(scene: Scene, index: int, rng: np.random.Generator, world: World) -> str:
    """A few words about one thing of the scene, like those of Visual Genome's regions."""
    thing = scene.things[index]
    style = rng.random()
    name = noun(thing, rng, world, Detail(0.3, 0.5, 0, 0), article=style > 0.5)
    if style < 0.35 or (len(scene.things) == 1 and style < 0.7):
        return name
    if style < 0.5:
        return f"{name} {_position_phrase(thing, rng, world)}"
    if style < 0.65:
        return f"{name} {background_phrase(scene, rng, world)}"
    if len(scene.things) == 1:
        return f"{name} with nothing around it"
    other = int(rng.choice([i for i in range(len(scene.things)) if i != index]))
    link = relation_phrase(scene, index, other, rng, world)
    return f"{name} {link} {noun(scene.things[other], rng, world, Detail(0.1, 0.3, 0, 0))}"


def background_phrase(scene: Scene, rng: np.random.Generator, world: World) -> str:
    """The background with its preposition: `on the beach`."""
    return " ".join(choose(rng, lexicon.BACKGROUNDS[scene.background], world.usual))


def relation_phrase(
    scene: Scene, subject: int, other: int, rng: np.random.Generator, world: World
) -> str:
    """The relation of thing `subject` to thing `other` in words: `to the left of`."""
    name = relation(scene, subject, other)
    if name in ("left", "right") and rng.random() < 0.2:
        return choose(rng, lexicon.NEXT_TO, world.usual)
    return choose(rng, lexicon.RELATIONS[name], world.usual)


def noun(
    thing: Thing, rng: np.random.Generator, world: World, detail: Detail, *, article: bool = True
) -> str:
    """A noun phrase: `a big red star with stripes`."""
    words, ending = [choose(rng, lexicon.COLORS[thing.color], world.usual)], ""
    if rng.random() < detail.textures * (0.5 if thing.texture == "plain" else 1.0):
        texture = choose(rng, lexicon.TEXTURES[thing.texture], world.usual)
        if thing.texture in lexicon.TEXTURE_ENDINGS and rng.random() < 0.25:
            ending = " " + lexicon.TEXTURE_ENDINGS[thing.texture]
        else:
            words.insert(int(rng.integers(2)), texture)
    if rng.random() < detail.sizes * (0.5 if thing.size == "medium" else 1.0):
        words.insert(0, choose(rng, lexicon.SIZES[thing.size], world.usual))
    text = " ".join([*words, choose(rng, lexicon.SHAPES[thing.shape], world.usual)]) + ending
    return f"{an(text)} {text}" if article else text


def an(text: str) -> str:
    """The indefinite article that `text` takes."""
    return "an" if text[0] in "aeiou" else "a"


def choose(rng: np.random.Generator, paraphrases: Sequence[T], usual: float) -> T:
    """One of the paraphrases; the first with the probability `usual`."""
    if len(paraphrases) == 1 or rng.random() < usual:
        return paraphrases[0]
    return paraphrases[int(rng.integers(1, len(paraphrases)))]


def _position_phrase(thing: Thing, rng: np.random.Generator, world: World) -> str:
    return choose(rng, lexicon.POSITIONS[position(thing)], world.usual)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _pick(rng: np.random.Generator, *options: str) -> str:
    return options[int(rng.integers(len(options)))]


def _alone(scene: Scene, rng: np.random.Generator, world: World, detail: Detail) -> str:
    """A caption of a scene with one thing, in more detail."""
    thing = scene.things[0]
    name = noun(thing, rng, world, Detail(min(1, detail.sizes * 1.5), 1.0, 0, 0), article=False)
    where = _position_phrase(thing, rng, world)
    single = _pick(rng, *lexicon.NUMBERS[1])
    return _pick(
        rng,
        f"{single} {name} {where}, {background_phrase(scene, rng, world)}",
        f"{an(name)} {name} {_pick(rng, 'lies', 'stands', 'rests')} {where}, {background_phrase(scene, rng, world)}, all alone",
        f"there is {single} {name} {background_phrase(scene, rng, world)}, {where}",
        f"{background_phrase(scene, rng, world)} there is {single} {name} {where}",
    )


def _related(scene: Scene, rng: np.random.Generator, world: World, detail: Detail) -> str:
    """Two things and their relation, sometimes a third thing."""
    subject, other = _two(scene, rng)
    a = noun(scene.things[subject], rng, world, detail)
    b = noun(scene.things[other], rng, world, detail)
    link = relation_phrase(scene, subject, other, rng, world)
    where = background_phrase(scene, rng, world) if rng.random() < detail.backgrounds else ""
    third = _third(scene, (subject, other), rng, world, detail)
    verb = _pick(rng, *VERBS)
    return _pick(
        rng,
        f"{a} {verb} {link} {b}{_after(where)}{third}",
        f"{a} {link} {b}{third}{_after(where)}",
        f"{_before(where)}{a} {verb} {link} {b}{third}",
        f"there is {a} {link} {b}{_after(where)}{third}",
        f"{_pick(rng, 'a picture', 'a photo', 'a view')} of {a} {link} {b}{third}{_after(where)}",
        f"{link} {b} there is {a}{third}{_after(where)}",
    )


def _listed(scene: Scene, rng: np.random.Generator, world: World, detail: Detail) -> str:
    """Up to three things one after the other, with their number or positions."""
    order = rng.permutation(len(scene.things))[:3]
    names = [noun(scene.things[i], rng, world, detail) for i in order]
    if rng.random() < 0.5:
        for i, index in enumerate(order):
            names[i] += f" {_position_phrase(scene.things[index], rng, world)}"
    listed = ", ".join(names[:-1]) + " and " + names[-1]
    where = background_phrase(scene, rng, world)
    if len(names) == len(scene.things) and rng.random() < 0.5:
        number = _pick(rng, *lexicon.NUMBERS[len(scene.things)])
        return f"{number} {_pick(rng, *lexicon.THINGS)}s {where}: {listed}"
    return _pick(
        rng,
        f"{listed} {where}",
        f"{where} there are {listed}",
        f"{listed} can be seen {where}",
        f"someone put {listed} {where}",
    )


def _two(scene: Scene, rng: np.random.Generator) -> tuple[int, int]:
    """Indices of two things to relate, mostly two that overlap if there are such."""
    pairs = list(permutations(range(len(scene.things)), 2))
    overlapping = [pair for pair in pairs if relation(scene, *pair) in _OVERLAPS]
    pairs = overlapping if overlapping and rng.random() < 0.8 else pairs
    return pairs[int(rng.integers(len(pairs)))]


def _third(
    scene: Scene, mentioned: tuple[int, int], rng: np.random.Generator, world: World, detail: Detail
) -> str:
    """A third thing to append to a caption, or nothing."""
    rest = [i for i in range(len(scene.things)) if i not in mentioned]
    if not rest or rng.random() < 0.5:
        return ""
    index = rest[int(rng.integers(len(rest)))]
    name = noun(scene.things[index], rng, world, detail)
    if rng.random() < 0.5:
        return f", and {name} {_position_phrase(scene.things[index], rng, world)}"
    return f", with {name} {_pick(rng, 'nearby', 'as well', 'too')}"


def _after(where: str) -> str:
    return f" {where}" if where else ""


def _before(where: str) -> str:
    return f"{where}, " if where else ""
