"""Questions about a scene, each with the answers of ten annotators: mostly the right one, now and
then in other words or a wrong one.

Which answer is right is decided before the words are drawn, so that `yes` and `no` are equally
frequent.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.datasets.vqa_question_types import answer_type, question_type
from pipeline.data.synthetic.language import lexicon
from pipeline.data.synthetic.language.caption_grammar import an, choose
from pipeline.data.synthetic.scenes.scene import Scene, Thing, position, relation
from pipeline.data.synthetic.world import World

ANNOTATORS = 10
_UNANIMOUS = 0.45  # share of the questions to which all annotators give the same answer
_DISAGREEMENT = (0.05, 0.35)  # of the others: range of the share of answers that differ
_WRONG = 0.6  # of these: the share that is wrong; the others are right in other words
_TRIES = 60  # to find questions about a scene
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


# Attributes by which a question names a thing; `shape` alone twice as often.
_NAMING_ATTRIBUTES = (
    ("shape",),
    ("shape",),
    ("color",),
    ("shape", "color"),
    ("shape", "texture"),
    ("color", "texture"),
)
# Attributes of what a question asks for the existence of.
_EXISTENCE_ATTRIBUTES = (
    ("shape",),
    ("color",),
    ("shape", "color"),
    ("shape", "color"),
    ("shape", "texture"),
)


@dataclass(frozen=True)
class Question:
    """text; truth: the right answer; wordings: other words for it; errors: wrong answers that are
    plausible."""

    text: str
    truth: str
    wordings: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question with its official types and the annotators' answers, each with its confidence
    (yes, maybe); best: a most frequent answer."""

    text: str
    question_type: str
    answer_type: str
    best: str
    answers: tuple[tuple[str, str], ...]


def ask(
    scene: Scene, number: int, rng: np.random.Generator, world: World
) -> list[AnsweredQuestion]:
    """`number` different questions, fewer if the scene has no more."""
    asked: dict[str, Question] = {}
    weights = np.array([weight for _, weight in _GENERATORS], dtype=float)
    for index in rng.choice(len(_GENERATORS), size=_TRIES, p=weights / weights.sum()):
        if len(asked) == number:
            break
        generate, _ = _GENERATORS[index]
        if (question := generate(scene, rng, world)) is not None:
            asked.setdefault(question.text, question)
    return [answer(question, rng) for question in asked.values()]


def answer(question: Question, rng: np.random.Generator) -> AnsweredQuestion:
    """The question with the answers of ten annotators."""
    differing = 0.0 if rng.random() < _UNANIMOUS else rng.uniform(*_DISAGREEMENT)
    error = _pick(rng, question.errors)
    answers = []
    for draw in rng.random(ANNOTATORS):
        if draw < differing * _WRONG:
            answers.append((error, "maybe"))
        elif draw < differing and question.wordings:
            answers.append((_pick(rng, question.wordings), "yes"))
        else:
            answers.append((question.truth, "yes"))
    best = Counter(text for text, _ in answers).most_common(1)[0][0]
    return AnsweredQuestion(
        question.text, question_type(question.text), answer_type(best), best, tuple(answers)
    )


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _values(world: World) -> dict[str, list[str]]:
    """The values of each attribute that questions are about."""
    return {"color": world.colors, "shape": world.shapes, "texture": world.textures}


def _without(options: Sequence[str], excluded: str) -> tuple[str, ...]:
    return tuple(option for option in options if option != excluded)


def _plural(noun: str) -> str:
    return noun + ("es" if noun.endswith(("s", "x")) else "s")


def _describe(attributes: dict[str, str], rng: np.random.Generator, world: World) -> str:
    """`striped red star`; without a shape, `striped red object`."""
    words = []
    if "texture" in attributes:
        words.append(choose(rng, lexicon.TEXTURES[attributes["texture"]], world.usual))
    if "color" in attributes:
        words.append(choose(rng, lexicon.COLORS[attributes["color"]], world.usual))
    if "shape" in attributes:
        words.append(choose(rng, lexicon.SHAPES[attributes["shape"]], world.usual))
    else:
        words.append(_pick(rng, lexicon.THINGS))
    return " ".join(words)


def _attributes(thing: Thing, names: tuple[str, ...]) -> dict[str, str]:
    return {name: getattr(thing, name) for name in names}


def _number(scene: Scene, attributes: dict[str, str]) -> int:
    """The number of things that have all these attributes."""
    return sum(_attributes(thing, tuple(attributes)) == attributes for thing in scene.things)


def _name(
    scene: Scene, index: int, rng: np.random.Generator, world: World, secret: str = ""
) -> str | None:
    """Words that fit one thing of the scene alone and do not mention its attribute `secret`; None
    if there are none."""
    fitting = []
    for names in _NAMING_ATTRIBUTES:
        attributes = _attributes(scene.things[index], names)
        if secret not in names and _number(scene, attributes) == 1:
            fitting.append(attributes)
    return _describe(fitting[int(rng.integers(len(fitting)))], rng, world) if fitting else None


def _draw_index(scene: Scene, rng: np.random.Generator) -> int:
    """The index of a thing."""
    return int(rng.integers(len(scene.things)))


def _color(scene: Scene, rng: np.random.Generator, world: World) -> Question | None:
    """What color a thing has."""
    index = _draw_index(scene, rng)
    if (name := _name(scene, index, rng, world, "color")) is None:
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
    return Question(text, color, lexicon.COLORS[color][1:], _without(world.colors, color))


def _shape(scene: Scene, rng: np.random.Generator, world: World) -> Question | None:
    """What shape a thing has, or what is at its position if nothing else is there."""
    index = _draw_index(scene, rng)
    thing, where = scene.things[index], position(scene.things[index])
    alone = sum(position(other) == where for other in scene.things) == 1
    if alone and rng.random() < 0.4:
        place = choose(rng, lexicon.POSITIONS[where], world.usual)
        return _shape_of(f"What is {place}?", thing, world)
    if (name := _name(scene, index, rng, world, "shape")) is None:
        return None
    text = _pick(rng, (f"What is the {name}?", f"What shape is the {name}?"))
    return _shape_of(text, thing, world)


def _shape_of(text: str, thing: Thing, world: World) -> Question:
    """A question to which the answer is the shape of a thing."""
    name, *synonyms = lexicon.SHAPES[thing.shape]
    return Question(text, name, (*synonyms, f"a {name}"), _without(world.shapes, thing.shape))


def _texture(scene: Scene, rng: np.random.Generator, world: World) -> Question | None:
    """What texture a thing has."""
    index = _draw_index(scene, rng)
    if (name := _name(scene, index, rng, world, "texture")) is None:
        return None
    texture = scene.things[index].texture
    text = _pick(
        rng,
        (f"What kind of pattern does the {name} have?", f"What type of pattern is on the {name}?"),
    )
    return Question(text, texture, lexicon.TEXTURES[texture][1:], _without(world.textures, texture))


def _background(scene: Scene, rng: np.random.Generator, world: World) -> Question | None:
    """What the background is."""
    if (name := _name(scene, _draw_index(scene, rng), rng, world)) is None:
        return None
    things, background = _plural(_pick(rng, lexicon.THINGS)), scene.background
    text = _pick(
        rng, (f"Where is the {name}?", f"Where are the {things}?", "What is in the background?")
    )
    wordings = tuple(map(" ".join, lexicon.BACKGROUNDS[background]))
    return Question(text, background, wordings, _without(world.backgrounds, background))


def _relation(scene: Scene, rng: np.random.Generator, world: World) -> Question | None:
    """What is to the left of a thing, say, if only one other thing is."""
    index = _draw_index(scene, rng)
    others = [other for other in range(len(scene.things)) if other != index]
    relations = [relation(scene, other, index) for other in others]
    unique = [number for number, name in enumerate(relations) if relations.count(name) == 1]
    if not unique or (name := _name(scene, index, rng, world)) is None:
        return None
    number = unique[int(rng.integers(len(unique)))]
    link = choose(rng, lexicon.RELATIONS[relations[number]], world.usual)
    return _shape_of(f"What is {link} the {name}?", scene.things[others[number]], world)


def _count(scene: Scene, rng: np.random.Generator, world: World) -> Question | None:
    """The number of all things, or of those with an attribute that one of them often has."""
    draw, thing = rng.random(), scene.things[_draw_index(scene, rng)]
    if draw < 0.35:
        words, number = _pick(rng, lexicon.THINGS), len(scene.things)
    else:
        values = _values(world)
        name = _pick(rng, list(values))
        value = getattr(thing, name) if draw < 0.8 else _pick(rng, values[name])
        words, number = _describe({name: value}, rng, world), _number(scene, {name: value})
    near = (str(number - 1), str(number + 1)) if number else (str(number + 1),)
    return Question(f"How many {_plural(words)} are there?", str(number), (_DIGITS[number],), near)


def _yes_no(text: str, truth: bool) -> Question:
    right, wrong = ("yes", "no") if truth else ("no", "yes")
    return Question(text, right, (), (wrong,))


def _exists(scene: Scene, rng: np.random.Generator, world: World) -> Question | None:
    """Whether there is a thing that differs from one of the scene's in one attribute, or in
    none."""
    truth = bool(rng.random() < 0.5)
    thing = scene.things[_draw_index(scene, rng)]
    names = _EXISTENCE_ATTRIBUTES[int(rng.integers(len(_EXISTENCE_ATTRIBUTES)))]
    attributes = _attributes(thing, names)
    if not truth:
        changed = _pick(rng, names)
        attributes[changed] = _pick(rng, _values(world)[changed])
    if (_number(scene, attributes) > 0) != truth:
        return None
    words = _describe(attributes, rng, world)
    if rng.random() < 0.3:
        return _yes_no(f"Are there any {_plural(words)}?", truth)
    return _yes_no(f"Is there {an(words)} {words}?", truth)


def _is_color(scene: Scene, rng: np.random.Generator, world: World) -> Question | None:
    """Whether a thing has a color."""
    truth, index = bool(rng.random() < 0.5), _draw_index(scene, rng)
    if (name := _name(scene, index, rng, world, "color")) is None:
        return None
    color = scene.things[index].color
    if not truth:
        color = _pick(rng, _without(world.colors, color))
    return _yes_no(f"Is the {name} {choose(rng, lexicon.COLORS[color], world.usual)}?", truth)


def _is_background(scene: Scene, rng: np.random.Generator, world: World) -> Question | None:
    """Whether a thing is on a background."""
    truth, background = bool(rng.random() < 0.5), scene.background
    if not truth:
        background = _pick(rng, _without(world.backgrounds, background))
    if (name := _name(scene, _draw_index(scene, rng), rng, world)) is None:
        return None
    place = " ".join(choose(rng, lexicon.BACKGROUNDS[background], world.usual))
    return _yes_no(f"Is the {name} {place}?", truth)


def _is_relation(scene: Scene, rng: np.random.Generator, world: World) -> Question | None:
    """Whether a thing is to the left of another, say."""
    if len(scene.things) == 1:
        return None
    truth = bool(rng.random() < 0.5)
    subject, other = (int(index) for index in rng.permutation(len(scene.things))[:2])
    subject_name, other_name = _name(scene, subject, rng, world), _name(scene, other, rng, world)
    if subject_name is None or other_name is None:
        return None
    name = relation(scene, subject, other)
    words = choose(rng, lexicon.RELATIONS[name if truth else _OPPOSITES[name]], world.usual)
    return _yes_no(f"Is the {subject_name} {words} the {other_name}?", truth)


def _has_texture(scene: Scene, rng: np.random.Generator, world: World) -> Question | None:
    """Whether a thing has stripes, dots or checks."""
    truth, index = bool(rng.random() < 0.5), _draw_index(scene, rng)
    texture = _pick(rng, world.marked_textures)
    name = _name(scene, index, rng, world, "texture")
    if name is None or (scene.things[index].texture == texture) != truth:
        return None
    marks = lexicon.TEXTURE_ENDINGS[texture].removeprefix("with ")
    return _yes_no(f"Does the {name} have {marks}?", truth)


# Functions that draw a question, None if it does not fit the scene, and how often each is tried.
_Generator = Callable[[Scene, np.random.Generator, World], Question | None]
_GENERATORS: tuple[tuple[_Generator, float], ...] = (
    (_color, 5),
    (_shape, 4),
    (_texture, 2),
    (_background, 4),
    (_relation, 3),
    (_count, 4),
    (_exists, 6),
    (_is_color, 2),
    (_is_background, 2),
    (_is_relation, 2),
    (_has_texture, 3),
)
