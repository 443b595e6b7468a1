"""What people ask about a scene, and what ten others answer: mostly the truth, now and then in
other words.

Which answer is right is decided before the words are chosen, so that `yes` and `no` are equally
frequent.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.data.datasets.vqa_question_types import answer_type, question_type
from pipeline.data.synthetic.language import lexicon
from pipeline.data.synthetic.language.caption_grammar import an, choose
from pipeline.data.synthetic.scenes.scene import (
    BACKGROUNDS,
    COLORS,
    SHAPES,
    TEXTURES,
    Scene,
    Thing,
    position,
    relation,
)

ANNOTATORS = 10
_CLEAR = 0.45  # share of the questions that all annotators answer alike
_DOUBT = (0.05, 0.35)  # of the others: the range of the share of answers that differ
_WRONG = 0.6  # of these: the share that is wrong; the others are right in other words
_TRIES = 60
_OPPOSITES = {
    "left": "right",
    "right": "left",
    "above": "below",
    "below": "above",
    "inside": "around",
    "around": "inside",
    "front": "behind",
    "behind": "front",
}
_DIGITS = ("none", "one", "two", "three", "four", "five")


@dataclass(frozen=True)
class Question:
    """text; truth: the right answer; wordings: other words for it; errors: what it may be mistaken
    for."""

    text: str
    truth: str
    wordings: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Answered:
    """A question with its official types and the annotators' answers, each with how sure (yes,
    maybe) it is."""

    text: str
    question_type: str
    answer_type: str
    best: str  # a most frequent answer
    answers: tuple[tuple[str, str], ...]


def ask(scene: Scene, number: int, rng: np.random.Generator) -> list[Answered]:
    """`number` different questions, fewer where the scene has no more."""
    asked: dict[str, Question] = {}
    weights = np.array([weight for _, weight in _KINDS], dtype=float)
    for kind in rng.choice(len(_KINDS), size=_TRIES, p=weights / weights.sum()):
        if len(asked) == number:
            break
        if (question := _KINDS[kind][0](scene, rng)) is not None:
            asked.setdefault(question.text, question)
    return [answer(question, rng) for question in asked.values()]


def answer(question: Question, rng: np.random.Generator) -> Answered:
    """What the annotators say."""
    doubt = 0.0 if rng.random() < _CLEAR else rng.uniform(*_DOUBT)
    error = _pick(rng, question.errors)
    answers = []
    for draw in rng.random(ANNOTATORS):
        if draw < doubt * _WRONG:
            answers.append((error, "maybe"))
        elif draw < doubt and question.wordings:
            answers.append((_pick(rng, question.wordings), "yes"))
        else:
            answers.append((question.truth, "yes"))
    best = Counter(text for text, _ in answers).most_common(1)[0][0]
    return Answered(
        question.text, question_type(question.text), answer_type(best), best, tuple(answers)
    )


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _others(options: tuple[str, ...], one: str) -> tuple[str, ...]:
    return tuple(option for option in options if option != one)


def _plural(noun: str) -> str:
    return noun + ("es" if noun.endswith(("s", "x")) else "s")


def _words(attributes: dict[str, str], rng: np.random.Generator) -> str:
    """`striped red star`; where the shape is not told, `striped red object`."""
    words = (
        [choose(rng, lexicon.TEXTURES[attributes["texture"]])] if "texture" in attributes else []
    )
    words += [choose(rng, lexicon.COLORS[attributes["color"]])] if "color" in attributes else []
    return " ".join(
        [
            *words,
            choose(rng, lexicon.SHAPES[attributes["shape"]])
            if "shape" in attributes
            else _pick(rng, lexicon.THINGS),
        ]
    )


def _attributes(thing: Thing, names: tuple[str, ...]) -> dict[str, str]:
    return {name: getattr(thing, name) for name in names}


def _number(scene: Scene, attributes: dict[str, str]) -> int:
    """How many things have all these attributes."""
    return sum(_attributes(thing, tuple(attributes)) == attributes for thing in scene.things)


_NAMES = (
    ("shape",),
    ("shape",),
    ("color",),
    ("shape", "color"),
    ("shape", "texture"),
    ("color", "texture"),
)


def _name(scene: Scene, index: int, rng: np.random.Generator, hidden: str = "") -> str | None:
    """Words that fit one thing of the scene alone and do not tell its attribute `hidden`; None
    where there are none."""
    options = [_attributes(scene.things[index], names) for names in _NAMES if hidden not in names]
    fitting = [option for option in options if _number(scene, option) == 1]
    return _words(fitting[int(rng.integers(len(fitting)))], rng) if fitting else None


def _some(scene: Scene, rng: np.random.Generator) -> int:
    return int(rng.integers(len(scene.things)))


def _color(scene: Scene, rng: np.random.Generator) -> Question | None:
    index = _some(scene, rng)
    if (name := _name(scene, index, rng, "color")) is None:
        return None
    color = scene.things[index].color
    text = _pick(
        rng,
        (
            f"What color is the {name}?",
            f"What color is the {name}?",
            f"What is the color of the {name}?",
        ),
    )
    return Question(text, color, lexicon.COLORS[color][1:], _others(COLORS, color))


def _shape(scene: Scene, rng: np.random.Generator) -> Question | None:
    index = _some(scene, rng)
    thing, where = scene.things[index], position(scene.things[index])
    alone = sum(position(other) == where for other in scene.things) == 1
    if alone and rng.random() < 0.4:
        return _shape_of(f"What is {choose(rng, lexicon.POSITIONS[where])}?", thing)
    if (name := _name(scene, index, rng, "shape")) is None:
        return None
    return _shape_of(_pick(rng, (f"What is the {name}?", f"What shape is the {name}?")), thing)


def _shape_of(text: str, thing: Thing) -> Question:
    """A question whose answer is the shape of a thing."""
    name = lexicon.SHAPES[thing.shape][0]
    return Question(
        text, name, (*lexicon.SHAPES[thing.shape][1:], f"a {name}"), _others(SHAPES, thing.shape)
    )


def _texture(scene: Scene, rng: np.random.Generator) -> Question | None:
    index = _some(scene, rng)
    if (name := _name(scene, index, rng, "texture")) is None:
        return None
    texture = scene.things[index].texture
    text = _pick(
        rng,
        (f"What kind of pattern does the {name} have?", f"What type of pattern is on the {name}?"),
    )
    return Question(text, texture, lexicon.TEXTURES[texture][1:], _others(TEXTURES, texture))


def _place(scene: Scene, rng: np.random.Generator) -> Question | None:
    if (name := _name(scene, _some(scene, rng), rng)) is None:
        return None
    things, where = _plural(_pick(rng, lexicon.THINGS)), scene.background
    text = _pick(
        rng, (f"Where is the {name}?", f"Where are the {things}?", "What is in the background?")
    )
    return Question(
        text,
        where,
        tuple(" ".join(words) for words in lexicon.PLACES[where]),
        _others(BACKGROUNDS, where),
    )


def _relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    """What is to the left of something, where only one thing is."""
    index = _some(scene, rng)
    related = {
        other: relation(scene, other, index) for other in range(len(scene.things)) if other != index
    }
    single = [other for other, name in related.items() if list(related.values()).count(name) == 1]
    if not single or (name := _name(scene, index, rng)) is None:
        return None
    other = single[int(rng.integers(len(single)))]
    return _shape_of(
        f"What is {choose(rng, lexicon.RELATIONS[related[other]])} the {name}?", scene.things[other]
    )


def _count(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Of all things, or of those with a color, shape or texture that is often one of the
    scene's."""
    draw, thing = rng.random(), scene.things[_some(scene, rng)]
    if draw < 0.35:
        words, number = _pick(rng, lexicon.THINGS), len(scene.things)
    else:
        kind, values = (("color", COLORS), ("shape", SHAPES), ("texture", TEXTURES))[
            int(rng.integers(3))
        ]
        attribute = {kind: getattr(thing, kind) if draw < 0.8 else _pick(rng, values)}
        words, number = _words(attribute, rng), _number(scene, attribute)
    near = tuple(str(other) for other in (number - 1, number + 1) if other >= 0)
    return Question(f"How many {_plural(words)} are there?", str(number), (_DIGITS[number],), near)


def _yes_no(text: str, truth: bool) -> Question:
    right, wrong = ("yes", "no") if truth else ("no", "yes")
    return Question(text, right, (), (wrong,))


def _exists(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Whether there is something that differs from a thing of the scene in one attribute, or not at
    all."""
    truth = bool(rng.random() < 0.5)
    names = (
        ("shape",),
        ("color",),
        ("shape", "color"),
        ("shape", "color"),
        ("shape", "texture"),
    )
    wanted = _attributes(scene.things[_some(scene, rng)], names[int(rng.integers(len(names)))])
    if not truth:
        changed = _pick(rng, tuple(wanted))
        values = {"shape": SHAPES, "color": COLORS, "texture": TEXTURES}[changed]
        wanted = wanted | {changed: _pick(rng, values)}
    if (_number(scene, wanted) > 0) != truth:
        return None
    words = _words(wanted, rng)
    if rng.random() < 0.3:
        return _yes_no(f"Are there any {_plural(words)}?", truth)
    return _yes_no(f"Is there {an(words)} {words}?", truth)


def _is_color(scene: Scene, rng: np.random.Generator) -> Question | None:
    truth, index = bool(rng.random() < 0.5), _some(scene, rng)
    if (name := _name(scene, index, rng, "color")) is None:
        return None
    own = scene.things[index].color
    color = own if truth else _pick(rng, _others(COLORS, own))
    return _yes_no(f"Is the {name} {choose(rng, lexicon.COLORS[color])}?", truth)


def _is_place(scene: Scene, rng: np.random.Generator) -> Question | None:
    truth = bool(rng.random() < 0.5)
    background = scene.background if truth else _pick(rng, _others(BACKGROUNDS, scene.background))
    if (name := _name(scene, _some(scene, rng), rng)) is None:
        return None
    return _yes_no(f"Is the {name} {' '.join(choose(rng, lexicon.PLACES[background]))}?", truth)


def _is_relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    if len(scene.things) == 1:
        return None
    truth = bool(rng.random() < 0.5)
    subject, other = (int(index) for index in rng.permutation(len(scene.things))[:2])
    names = [_name(scene, index, rng) for index in (subject, other)]
    if None in names:
        return None
    name = relation(scene, subject, other)
    words = choose(rng, lexicon.RELATIONS[name if truth else _OPPOSITES[name]])
    return _yes_no(f"Is the {names[0]} {words} the {names[1]}?", truth)


def _has_texture(scene: Scene, rng: np.random.Generator) -> Question | None:
    truth, index = bool(rng.random() < 0.5), _some(scene, rng)
    texture = _pick(rng, tuple(lexicon.TEXTURE_ENDINGS))
    if (name := _name(scene, index, rng, "texture")) is None or (
        scene.things[index].texture == texture
    ) != truth:
        return None
    return _yes_no(
        f"Does the {name} have {lexicon.TEXTURE_ENDINGS[texture].removeprefix('with ')}?", truth
    )


# Each kind of question, and how often it is tried.
_KINDS: tuple[tuple[Callable[[Scene, np.random.Generator], Question | None], float], ...] = (
    (_color, 5),
    (_shape, 4),
    (_texture, 2),
    (_place, 4),
    (_relation, 3),
    (_count, 4),
    (_exists, 6),
    (_is_color, 2),
    (_is_place, 2),
    (_is_relation, 2),
    (_has_texture, 3),
)
