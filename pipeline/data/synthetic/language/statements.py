"""Statements about two scenes, in rivals: where one is true and the other false, and the other way
round.

Of two rivals each is used with the same pairs of scenes, half of which make the one true and half
the other. So neither a statement alone nor a pair alone tells the label.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import NamedTuple

import numpy as np

from pipeline.data.synthetic.language import lexicon
from pipeline.data.synthetic.language.caption_grammar import an, choose
from pipeline.data.synthetic.scenes.scene import BACKGROUNDS, COLORS, SHAPES, Scene, relation

Fact = tuple[str, ...]  # something that is true of a scene, such as ("thing", "red", "star")
SIDES = ("left", "right")
_MOST = 4  # things of a scene
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
_RELATIONS = (("left", "right"), ("above", "below"))
_PICTURES = ("picture", "photo")
_TRIES = 40  # to find a pair of scenes

# What statements ask for. Kinds are drawn evenly from the tuples below, and what stands twice comes
# twice as often.
_FACTS = {
    "thing": tuple(product(COLORS, SHAPES)),
    "color": tuple((color,) for color in COLORS),
    "shape": tuple((shape,) for shape in SHAPES),
    "place": tuple((place,) for place in BACKGROUNDS),
}
# That neither words nor pictures tell the label alone makes the first step hard: with all ten
# places a small model stays at chance for hundreds of steps; these four, dark, white, yellow and
# brown, are told apart within fifty.
_EASY_PLACES: tuple[Fact, ...] = (
    ("place", "night"),
    ("place", "snow"),
    ("place", "desert"),
    ("place", "wood"),
)
_KINDS = ("place", "place", "color", "shape", "thing")


class Condition(NamedTuple):
    """That a fact is, or is not, true of a scene."""

    fact: Fact
    present: bool


Case = tuple[
    Condition | None, Condition | None
]  # of the left and of the right scene; None: any scene


@dataclass(frozen=True)
class Statement:
    """True of two scenes when one of its cases is."""

    text: str
    cases: tuple[Case, ...]

    def holds(self, left: frozenset[Fact], right: frozenset[Fact]) -> bool:
        """Whether it is true of scenes with these facts."""
        return any(_meets(case[0], left) and _meets(case[1], right) for case in self.cases)


Rivals = tuple[Statement, Statement]


def facts(scene: Scene) -> frozenset[Fact]:
    """All that statements can tell of a scene."""
    things = scene.things
    found: set[Fact] = {("place", scene.background), ("number", str(len(things)))}
    for thing in things:
        found |= {
            ("color", thing.color),
            ("shape", thing.shape),
            ("thing", thing.color, thing.shape),
        }
    for shape in SHAPES:
        found.add(("count", shape, str(sum(thing.shape == shape for thing in things))))
    for a, b in permutations(range(len(things)), 2):
        found.add(("related", things[a].color, relation(scene, a, b), things[b].color))
    return frozenset(found)


def rivals(rng: np.random.Generator, *, simple: bool) -> Rivals:
    """Two statements. Simple ones ask for one of four places in both pictures."""
    return _both_there(rng) if simple else COMPOSED[int(rng.integers(len(COMPOSED)))](rng)


def _both_there(rng: np.random.Generator) -> Rivals:
    """Both were taken at this place, or both at that."""
    places = rng.choice(len(_EASY_PLACES), 2, replace=False)
    return tuple(_shown_in_both(_EASY_PLACES[int(place)], rng) for place in places)


def _which_side(rng: np.random.Generator) -> Rivals:
    """It is the left picture that shows this, or the right one."""
    (fact,) = _facts(1, _KINDS, rng)
    return tuple(_shown_in(side, fact, rng) for side in SIDES)


def _both_or_one(rng: np.random.Generator) -> Rivals:
    """Both show this, or only one does."""
    (fact,) = _facts(1, _KINDS, rng)
    shown, hidden = Condition(fact, True), Condition(fact, False)
    text = f"Only one of the {_picture(rng)}s {_shows(fact, rng)}."
    return _shown_in_both(fact, rng), Statement(text, ((shown, hidden), (hidden, shown)))


def _one_and_other(rng: np.random.Generator) -> Rivals:
    """One shows this and the other that, or something else."""
    this, that, other = _facts(3, _KINDS, rng)
    return tuple(_shown_apart(this, fact, rng) for fact in (that, other))


def _total(rng: np.random.Generator) -> Rivals:
    """So many things in both pictures together."""
    numbers = rng.choice(np.arange(3, 8), 2, replace=False)
    return tuple(
        _counted(lexicon.THINGS[1], ("number",), int(number), 1, rng) for number in numbers
    )


def _total_of_shape(rng: np.random.Generator) -> Rivals:
    """So many things of one shape in both pictures together."""
    shape = _pick(rng, SHAPES)
    numbers = rng.choice(np.arange(3), 2, replace=False)
    return tuple(_counted(shape, ("count", shape), int(number), 0, rng) for number in numbers)


def _more(rng: np.random.Generator) -> Rivals:
    """One picture shows more things than the other."""
    return tuple(_richer(side, rng) for side in SIDES)


def _relation(rng: np.random.Generator) -> Rivals:
    """In one picture something of this color is left of, or above, something of that color."""
    side, pair = SIDES[int(rng.integers(2))], _RELATIONS[int(rng.integers(2))]
    first, second = (COLORS[int(i)] for i in rng.choice(len(COLORS), 2, replace=False))
    return tuple(_related(side, first, name, second, rng) for name in pair)


def _same_place(rng: np.random.Generator) -> Rivals:
    """The places are the same, or different."""
    places = [Condition(("place", place), True) for place in BACKGROUNDS]
    cases = list(product(places, places))
    name = _picture(rng)
    return (
        Statement(
            f"Both {name}s show the same place.",
            tuple(case for case in cases if case[0] == case[1]),
        ),
        Statement(
            f"The two {name}s show different places.",
            tuple(case for case in cases if case[0] != case[1]),
        ),
    )


COMPOSED: tuple[Callable[[np.random.Generator], Rivals], ...] = (
    _which_side,
    _both_or_one,
    _one_and_other,
    _total,
    _total_of_shape,
    _more,
    _relation,
    _same_place,
)


class Pool:
    """Scenes to choose pairs from."""

    def __init__(self, scenes: Sequence[Scene]):
        self.facts = [facts(scene) for scene in scenes]
        self._having: dict[Fact, list[int]] = {}
        for number, found in enumerate(self.facts):
            for fact in found:
                self._having.setdefault(fact, []).append(number)

    def pair(
        self, true: Statement, false: Statement, rng: np.random.Generator
    ) -> tuple[int, int] | None:
        """Two different scenes of which the one statement is true and the other is not; None where
        none are found."""
        for _ in range(_TRIES):
            left, right = (
                self._scene(condition, rng)
                for condition in true.cases[int(rng.integers(len(true.cases)))]
            )
            if left is None or right is None or left == right:
                continue
            told = self.facts[left], self.facts[right]
            if true.holds(*told) and not false.holds(*told):
                return left, right
        return None

    def _scene(self, condition: Condition | None, rng: np.random.Generator) -> int | None:
        """A scene that has the fact; where the fact is to be absent, any scene."""
        if condition is None or not condition.present:
            return int(rng.integers(len(self.facts)))
        having = self._having.get(condition.fact, ())
        return having[int(rng.integers(len(having)))] if having else None


def _meets(condition: Condition | None, found: frozenset[Fact]) -> bool:
    return condition is None or (condition.fact in found) == condition.present


def _case(side: str, condition: Condition) -> Case:
    return (condition, None) if side == "left" else (None, condition)


def _shown_in(side: str, fact: Fact, rng: np.random.Generator) -> Statement:
    text = f"The {side} {_picture(rng)} {_shows(fact, rng)}."
    return Statement(text, (_case(side, Condition(fact, True)),))


def _shown_in_both(fact: Fact, rng: np.random.Generator) -> Statement:
    text = f"Both {_picture(rng)}s {_shows(fact, rng, plural=True)}."
    return Statement(text, ((Condition(fact, True), Condition(fact, True)),))


def _shown_apart(one: Fact, other: Fact, rng: np.random.Generator) -> Statement:
    text = f"One {_picture(rng)} {_shows(one, rng)} and the other {_shows(other, rng)}."
    case = Condition(one, True), Condition(other, True)
    return Statement(text, (case, case[::-1]))


def _counted(
    noun: str, fact: Fact, number: int, fewest: int, rng: np.random.Generator
) -> Statement:
    """fewest: how many there are at least in one picture."""
    verb, plural = ("is", "") if number == 1 else ("are", "s")
    text = f"There {verb} {_NUMBERS[number]} {noun}{plural} in the two {_picture(rng)}s together."
    return Statement(
        text,
        tuple(
            (Condition((*fact, str(count)), True), Condition((*fact, str(number - count)), True))
            for count in range(fewest, number - fewest + 1)
            if max(count, number - count) <= _MOST
        ),
    )


def _richer(side: str, rng: np.random.Generator) -> Statement:
    other = SIDES[side == "left"]
    text = f"The {side} {_picture(rng)} shows more {lexicon.THINGS[1]}s than the {other} one."
    numbers = [Condition(("number", str(number)), True) for number in range(1, _MOST + 1)]
    cases = tuple((a, b) for place, a in enumerate(numbers) for b in numbers[:place])
    return Statement(text, cases if side == "left" else tuple(case[::-1] for case in cases))


def _related(side: str, first: str, name: str, second: str, rng: np.random.Generator) -> Statement:
    a, b = (f"something {choose(rng, lexicon.COLORS[color])}" for color in (first, second))
    link = choose(rng, lexicon.RELATIONS[name])
    text = f"In the {side} {_picture(rng)} {a} is {link} {b}."
    return Statement(text, (_case(side, Condition(("related", first, name, second), True)),))


def _facts(number: int, kinds: Sequence[str], rng: np.random.Generator) -> list[Fact]:
    """Different facts of one kind."""
    kind = _pick(rng, kinds)
    return [
        (kind, *_FACTS[kind][int(i)]) for i in rng.choice(len(_FACTS[kind]), number, replace=False)
    ]


def _shows(fact: Fact, rng: np.random.Generator, *, plural: bool = False) -> str:
    """What a picture does: `shows a red star`, `shows something red`, `was taken on the beach`."""
    kind, *words = fact
    if kind == "place":
        return (
            f"{'were' if plural else 'was'} taken {' '.join(choose(rng, lexicon.PLACES[words[0]]))}"
        )
    if kind == "color":
        name = f"something {choose(rng, lexicon.COLORS[words[0]])}"
    else:
        name = " ".join(choose(rng, {**lexicon.COLORS, **lexicon.SHAPES}[word]) for word in words)
        name = f"{an(name)} {name}"
    return f"show{'' if plural else 's'} {name}"


def _picture(rng: np.random.Generator) -> str:
    return choose(rng, _PICTURES)


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
