"""Pairs of contrasting statements about two scenes: when one is true, the other is false.

Both statements of a pair are used with the same pairs of scenes, half of which make the first true
and half the second. So neither a statement alone nor a pair of scenes alone reveals the label.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import NamedTuple

import numpy as np

from pipeline.data.synthetic.language import lexicon
from pipeline.data.synthetic.language.caption_grammar import an, choose
from pipeline.data.synthetic.scenes.scene import Scene, relation
from pipeline.data.synthetic.world import MOST_THINGS, World

Fact = tuple[str, ...]  # something that is true of a scene, such as ("thing", "red", "star")
SIDES = ("left", "right")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
_RELATIONS = (("left", "right"), ("above", "below"))
_IMAGE_WORDS = ("picture", "photo")
_TRIES = 40  # to find a pair of scenes

# Kinds of facts that statements are about. One is drawn evenly, the background twice as often.
_KINDS = ("background", "background", "color", "shape", "thing")


class Condition(NamedTuple):
    """That a fact is, or is not, true of a scene."""

    fact: Fact
    present: bool


# conditions on the left and on the right scene; None: any scene
Case = tuple[Condition | None, Condition | None]


@dataclass(frozen=True)
class Statement:
    """A text about two scenes, and the cases of which one must hold for it to be true."""

    text: str
    cases: tuple[Case, ...]

    def holds(self, left: frozenset[Fact], right: frozenset[Fact]) -> bool:
        """Whether it is true of scenes with these facts."""
        return any(_meets(case[0], left) and _meets(case[1], right) for case in self.cases)


ContrastingPair = tuple[Statement, Statement]


def facts(scene: Scene, world: World) -> frozenset[Fact]:
    """All facts of a scene that statements can be about."""
    things = scene.things
    scene_facts: set[Fact] = {("background", scene.background), ("number", str(len(things)))}
    for thing in things:
        scene_facts.add(("color", thing.color))
        scene_facts.add(("shape", thing.shape))
        scene_facts.add(("thing", thing.color, thing.shape))
    for shape in world.shapes:
        scene_facts.add(("count", shape, str(sum(thing.shape == shape for thing in things))))
    for a, b in permutations(range(len(things)), 2):
        scene_facts.add(("related", things[a].color, relation(scene, a, b), things[b].color))
    return frozenset(scene_facts)


def contrasting_pair(rng: np.random.Generator, world: World, *, simple: bool) -> ContrastingPair:
    """Two statements; simple ones say that both images show one of a few backgrounds."""
    if simple:
        return _background_of_both(rng, world)
    return COMPOSED[int(rng.integers(len(COMPOSED)))](rng, world)


def _background_of_both(rng: np.random.Generator, world: World) -> ContrastingPair:
    """Both images show one background; both show another."""
    names = rng.choice(world.statement_backgrounds, 2, replace=False)
    first, second = (("background", str(name)) for name in names)
    return _shown_in_both(first, rng, world), _shown_in_both(second, rng, world)


def _which_side(rng: np.random.Generator, world: World) -> ContrastingPair:
    """The left image shows something; the right image shows it."""
    (fact,) = _draw_facts(1, rng, world)
    return _shown_in("left", fact, rng, world), _shown_in("right", fact, rng, world)


def _both_or_one(rng: np.random.Generator, world: World) -> ContrastingPair:
    """Both images show something; only one does."""
    (fact,) = _draw_facts(1, rng, world)
    present, absent = Condition(fact, True), Condition(fact, False)
    text = f"Only one of the {_image_word(rng, world)}s {_shows(fact, rng, world)}."
    only_one = Statement(text, ((present, absent), (absent, present)))
    return _shown_in_both(fact, rng, world), only_one


def _one_and_other(rng: np.random.Generator, world: World) -> ContrastingPair:
    """One image shows the first fact and the other the second; or the other the third."""
    first, second, third = _draw_facts(3, rng, world)
    return _shown_apart(first, second, rng, world), _shown_apart(first, third, rng, world)


def _total(rng: np.random.Generator, world: World) -> ContrastingPair:
    """The number of things in both images together."""
    numbers = rng.choice(np.arange(3, max(2 * len(world.things), 5)), 2, replace=False)
    noun, fact = lexicon.THINGS[1], ("number",)
    first, second = (_counted(noun, fact, int(number), 1, rng, world) for number in numbers)
    return first, second


def _total_of_shape(rng: np.random.Generator, world: World) -> ContrastingPair:
    """The number of things of one shape in both images together."""
    shape = _pick(rng, world.shapes)
    numbers = rng.choice(np.arange(3), 2, replace=False)
    fact = ("count", shape)
    first, second = (_counted(shape, fact, int(number), 0, rng, world) for number in numbers)
    return first, second


def _more(rng: np.random.Generator, world: World) -> ContrastingPair:
    """The left image shows more things than the right one; the right one shows more."""
    return _richer("left", rng, world), _richer("right", rng, world)


def _relation(rng: np.random.Generator, world: World) -> ContrastingPair:
    """In one of the images, a thing of one color is left of (above) one of another color; or right
    of (below) it."""
    side, names = SIDES[int(rng.integers(2))], _RELATIONS[int(rng.integers(2))]
    first, second = rng.choice(len(world.colors), 2, replace=False)
    colors = world.colors[first], world.colors[second]
    one, opposite = (_related(side, name, colors, rng, world) for name in names)
    return one, opposite


def _same_background(rng: np.random.Generator, world: World) -> ContrastingPair:
    """The backgrounds are the same; they are different."""
    conditions = [Condition(("background", background), True) for background in world.backgrounds]
    same: list[Case] = []
    different: list[Case] = []
    for left, right in product(conditions, conditions):
        (same if left == right else different).append((left, right))
    word = _image_word(rng, world)
    return (
        Statement(f"Both {word}s show the same place.", tuple(same)),
        Statement(f"The two {word}s show different places.", tuple(different)),
    )


COMPOSED: tuple[Callable[[np.random.Generator, World], ContrastingPair], ...] = (
    _which_side,
    _both_or_one,
    _one_and_other,
    _total,
    _total_of_shape,
    _more,
    _relation,
    _same_background,
)


class ScenePool:
    """Scenes to draw pairs from."""

    def __init__(self, scenes: Sequence[Scene], world: World):
        self.facts = [facts(scene, world) for scene in scenes]
        self._indices_by_fact: dict[Fact, list[int]] = {}
        for index, scene_facts in enumerate(self.facts):
            for fact in scene_facts:
                self._indices_by_fact.setdefault(fact, []).append(index)

    def draw_pair(
        self, true: Statement, false: Statement, rng: np.random.Generator
    ) -> tuple[int, int] | None:
        """Indices of two different scenes of which `true` is true and `false` is not; None if none
        are found."""
        for _ in range(_TRIES):
            left_condition, right_condition = true.cases[int(rng.integers(len(true.cases)))]
            left = self._draw_scene(left_condition, rng)
            right = self._draw_scene(right_condition, rng)
            if left is None or right is None or left == right:
                continue
            pair_facts = self.facts[left], self.facts[right]
            if true.holds(*pair_facts) and not false.holds(*pair_facts):
                return left, right
        return None

    def _draw_scene(self, condition: Condition | None, rng: np.random.Generator) -> int | None:
        """The index of a scene that has the fact, None if none has; any scene if the fact must be
        absent, which most scenes meet."""
        if condition is None or not condition.present:
            return int(rng.integers(len(self.facts)))
        indices = self._indices_by_fact.get(condition.fact, ())
        return indices[int(rng.integers(len(indices)))] if indices else None


def _meets(condition: Condition | None, scene_facts: frozenset[Fact]) -> bool:
    return condition is None or (condition.fact in scene_facts) == condition.present


def _case(side: str, condition: Condition) -> Case:
    return (condition, None) if side == "left" else (None, condition)


def _shown_in(side: str, fact: Fact, rng: np.random.Generator, world: World) -> Statement:
    text = f"The {side} {_image_word(rng, world)} {_shows(fact, rng, world)}."
    return Statement(text, (_case(side, Condition(fact, True)),))


def _shown_in_both(fact: Fact, rng: np.random.Generator, world: World) -> Statement:
    text = f"Both {_image_word(rng, world)}s {_shows(fact, rng, world, plural=True)}."
    return Statement(text, ((Condition(fact, True), Condition(fact, True)),))


def _shown_apart(first: Fact, second: Fact, rng: np.random.Generator, world: World) -> Statement:
    text = f"One {_image_word(rng, world)} {_shows(first, rng, world)} and the other {_shows(second, rng, world)}."
    case = Condition(first, True), Condition(second, True)
    return Statement(text, (case, case[::-1]))


def _counted(
    noun: str, fact: Fact, number: int, fewest: int, rng: np.random.Generator, world: World
) -> Statement:
    """That `number` things are in both images together.

    fact: without the number; fewest: things in one image.
    """
    verb, plural = ("is", "") if number == 1 else ("are", "s")
    word = _image_word(rng, world)
    text = f"There {verb} {_NUMBERS[number]} {noun}{plural} in the two {word}s together."
    cases = []
    for left in range(fewest, number - fewest + 1):
        right = number - left
        if max(left, right) <= MOST_THINGS:
            cases.append(
                (Condition((*fact, str(left)), True), Condition((*fact, str(right)), True))
            )
    return Statement(text, tuple(cases))


def _richer(side: str, rng: np.random.Generator, world: World) -> Statement:
    other = SIDES[side == "left"]
    text = f"The {side} {_image_word(rng, world)} shows more {lexicon.THINGS[1]}s than the {other} one."
    conditions = [Condition(("number", str(number)), True) for number in range(1, MOST_THINGS + 1)]
    cases = []
    for index, more in enumerate(conditions):
        for fewer in conditions[:index]:
            cases.append((more, fewer) if side == "left" else (fewer, more))
    return Statement(text, tuple(cases))


def _related(
    side: str, name: str, colors: tuple[str, str], rng: np.random.Generator, world: World
) -> Statement:
    first = f"something {choose(rng, lexicon.COLORS[colors[0]], world.usual)}"
    second = f"something {choose(rng, lexicon.COLORS[colors[1]], world.usual)}"
    link = choose(rng, lexicon.RELATIONS[name], world.usual)
    text = f"In the {side} {_image_word(rng, world)} {first} is {link} {second}."
    fact = ("related", colors[0], name, colors[1])
    return Statement(text, (_case(side, Condition(fact, True)),))


def _known_facts(world: World) -> dict[str, list[Fact]]:
    """Facts that statements are about, by kind."""
    return {
        "thing": list(product(world.colors, world.shapes)),
        "color": list(product(world.colors)),
        "shape": list(product(world.shapes)),
        "background": list(product(world.backgrounds)),
    }


def _draw_facts(number: int, rng: np.random.Generator, world: World) -> list[Fact]:
    """Different facts of one kind."""
    known = _known_facts(world)
    kind = _pick(rng, [kind for kind in _KINDS if len(known[kind]) >= number])
    indices = rng.choice(len(known[kind]), number, replace=False)
    return [(kind, *known[kind][index]) for index in indices]


def _shows(fact: Fact, rng: np.random.Generator, world: World, *, plural: bool = False) -> str:
    """The predicate of an image: `shows a red star`, `shows something red`, `was taken on the
    beach`."""
    kind, *words = fact
    if kind == "background":
        place = " ".join(choose(rng, lexicon.BACKGROUNDS[words[0]], world.usual))
        return f"{'were' if plural else 'was'} taken {place}"
    if kind == "color":
        name = f"something {choose(rng, lexicon.COLORS[words[0]], world.usual)}"
    else:
        table = {**lexicon.COLORS, **lexicon.SHAPES}
        name = " ".join(choose(rng, table[word], world.usual) for word in words)
        name = f"{an(name)} {name}"
    return f"show{'' if plural else 's'} {name}"


def _image_word(rng: np.random.Generator, world: World) -> str:
    return choose(rng, _IMAGE_WORDS, world.usual)


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
