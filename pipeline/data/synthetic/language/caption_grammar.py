"""Captions of a scene with paraphrases, and short phrases about its regions.

`parser` recovers the meaning of every caption exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TypeVar

import numpy as np

from pipeline.data.synthetic.language import lexicon
from pipeline.data.synthetic.scenes.scene import Scene, Thing, position, relation

T = TypeVar("T")
VERBS = ("is", "lies", "stands", "rests", "sits")
_OVERLAPS = ("inside", "around", "front", "behind")  # relations of things that overlap
_LONGEST = 22  # words
_USUAL = 0.7  # how often the first of several paraphrases is chosen


@dataclass(frozen=True)
class Detail:
    """How often (0..1) a caption mentions what it may omit."""

    size: float
    texture: float
    background: float
    relation: float


_FULL = Detail(size=0.6, texture=0.8, background=0.9, relation=0.75)
_BRIEF = Detail(size=0.35, texture=0.5, background=0.75, relation=0.7)


def captions(scene: Scene, number: int, rng: np.random.Generator) -> list[str]:
    """`number` captions of at most 22 words, as annotators of Flickr30k and COCO write them: one
    full sentence each."""
    return [_sentence(caption(scene, rng, _FULL)) for _ in range(number)]


def alt_text(scene: Scene, rng: np.random.Generator) -> str:
    """One caption in the style of CC3M: lower case, blanks around punctuation marks."""
    return caption(scene, rng, _BRIEF).replace(",", " ,").replace(":", " :") + " ."


def caption(scene: Scene, rng: np.random.Generator, detail: Detail = _FULL) -> str:
    """A caption of at most 22 words in lower case, without a full stop."""
    while True:
        if len(scene.things) == 1:
            text = _alone(scene, rng, detail)
        else:
            text = (_related if rng.random() < detail.relation else _listed)(scene, rng, detail)
        if len(text.split()) <= _LONGEST:
            return text


def phrase(scene: Scene, index: int, rng: np.random.Generator) -> str:
    """A few words about one thing of the scene, like those of Visual Genome's regions."""
    thing = scene.things[index]
    style = rng.random()
    name = noun(thing, rng, Detail(0.3, 0.5, 0, 0), article=style > 0.5)
    if style < 0.35 or (len(scene.things) == 1 and style < 0.7):
        return name
    if style < 0.5:
        return f"{name} {choose(rng, lexicon.POSITIONS[position(thing)])}"
    if style < 0.65:
        return f"{name} {background_phrase(scene, rng)}"
    if len(scene.things) == 1:
        return f"{name} with nothing around it"
    other = int(rng.choice([i for i in range(len(scene.things)) if i != index]))
    link = relation_phrase(scene, index, other, rng)
    return f"{name} {link} {noun(scene.things[other], rng, Detail(0.1, 0.3, 0, 0))}"


def background_phrase(scene: Scene, rng: np.random.Generator) -> str:
    """The background with its preposition: `on the beach`."""
    return " ".join(choose(rng, lexicon.BACKGROUNDS[scene.background]))


def relation_phrase(scene: Scene, subject: int, other: int, rng: np.random.Generator) -> str:
    """The relation of thing `subject` to thing `other` in words: `to the left of`."""
    name = relation(scene, subject, other)
    if name in ("left", "right") and rng.random() < 0.2:
        return choose(rng, lexicon.NEXT_TO)
    return choose(rng, lexicon.RELATIONS[name])


def noun(
    thing: Thing, rng: np.random.Generator, detail: Detail = _FULL, *, article: bool = True
) -> str:
    """A noun phrase: `a big red star with stripes`."""
    words, ending = [choose(rng, lexicon.COLORS[thing.color])], ""
    if rng.random() < detail.texture * (0.5 if thing.texture == "plain" else 1.0):
        texture = choose(rng, lexicon.TEXTURES[thing.texture])
        if thing.texture in lexicon.TEXTURE_ENDINGS and rng.random() < 0.25:
            ending = " " + lexicon.TEXTURE_ENDINGS[thing.texture]
        else:
            words.insert(int(rng.integers(2)), texture)
    if rng.random() < detail.size * (0.5 if thing.size == "medium" else 1.0):
        words.insert(0, choose(rng, lexicon.SIZES[thing.size]))
    text = " ".join([*words, choose(rng, lexicon.SHAPES[thing.shape])]) + ending
    return f"{an(text)} {text}" if article else text


def an(text: str) -> str:
    """The indefinite article that `text` takes."""
    return "an" if text[0] in "aeiou" else "a"


def choose(rng: np.random.Generator, paraphrases: Sequence[T]) -> T:
    """One of the paraphrases, most often the first."""
    if len(paraphrases) == 1 or rng.random() < _USUAL:
        return paraphrases[0]
    return paraphrases[int(rng.integers(1, len(paraphrases)))]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _pick(rng: np.random.Generator, *options: str) -> str:
    return options[int(rng.integers(len(options)))]


def _alone(scene: Scene, rng: np.random.Generator, detail: Detail) -> str:
    """A caption of a scene with one thing, in more detail."""
    thing = scene.things[0]
    name = noun(thing, rng, Detail(min(1, detail.size * 1.5), 1.0, 0, 0), article=False)
    where = choose(rng, lexicon.POSITIONS[position(thing)])
    single = _pick(rng, *lexicon.NUMBERS[1])
    return _pick(
        rng,
        f"{single} {name} {where}, {background_phrase(scene, rng)}",
        f"{an(name)} {name} {_pick(rng, 'lies', 'stands', 'rests')} {where}, {background_phrase(scene, rng)}, all alone",
        f"there is {single} {name} {background_phrase(scene, rng)}, {where}",
        f"{background_phrase(scene, rng)} there is {single} {name} {where}",
    )


def _related(scene: Scene, rng: np.random.Generator, detail: Detail) -> str:
    """Two things and their relation, sometimes a third thing."""
    subject, other = _two(scene, rng)
    a = noun(scene.things[subject], rng, detail)
    b = noun(scene.things[other], rng, detail)
    link = relation_phrase(scene, subject, other, rng)
    where = background_phrase(scene, rng) if rng.random() < detail.background else ""
    third = _third(scene, (subject, other), rng, detail)
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


def _listed(scene: Scene, rng: np.random.Generator, detail: Detail) -> str:
    """Up to three things one after the other, with their number or positions."""
    order = rng.permutation(len(scene.things))[:3]
    names = [noun(scene.things[i], rng, detail) for i in order]
    if rng.random() < 0.5:
        for i, index in enumerate(order):
            names[i] += f" {choose(rng, lexicon.POSITIONS[position(scene.things[index])])}"
    listed = ", ".join(names[:-1]) + " and " + names[-1]
    where = background_phrase(scene, rng)
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
    scene: Scene, mentioned: tuple[int, int], rng: np.random.Generator, detail: Detail
) -> str:
    """A third thing to append to a caption, or nothing."""
    rest = [i for i in range(len(scene.things)) if i not in mentioned]
    if not rest or rng.random() < 0.5:
        return ""
    index = rest[int(rng.integers(len(rest)))]
    name = noun(scene.things[index], rng, detail)
    if rng.random() < 0.5:
        return f", and {name} {choose(rng, lexicon.POSITIONS[position(scene.things[index])])}"
    return f", with {name} {_pick(rng, 'nearby', 'as well', 'too')}"


def _after(where: str) -> str:
    return f" {where}" if where else ""


def _before(where: str) -> str:
    return f"{where}, " if where else ""
