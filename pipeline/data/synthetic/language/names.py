"""Invented names of people and towns."""

import numpy as np

_ONSETS = (
    "b",
    "br",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "h",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "st",
    "t",
    "tr",
    "v",
    "w",
    "z",
)
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
_CODAS = ("", "", "l", "m", "n", "r", "s", "th", "nd", "rk")
_TOWNS = ("ton", "ford", "ham", "bury", "wick", "mouth", "dale", "stead")
_TRADES = (
    "painter",
    "weaver",
    "sailor",
    "baker",
    "teacher",
    "potter",
    "gardener",
    "shepherd",
    "joiner",
    "printer",
    "glazier",
    "botanist",
    "astronomer",
    "surveyor",
    "clockmaker",
    "miller",
    "tailor",
    "poet",
    "mason",
    "smith",
)


def person(rng: np.random.Generator) -> str:
    """A first name: `Marel`."""
    return (_syllable(rng) + _syllable(rng)).capitalize()


def town(rng: np.random.Generator) -> str:
    """The name of a town: `Stoudale`."""
    return (_syllable(rng) + _TOWNS[int(rng.integers(len(_TOWNS)))]).capitalize()


def trade(rng: np.random.Generator) -> str:
    """A profession: `painter`."""
    return _TRADES[int(rng.integers(len(_TRADES)))]


def _syllable(rng: np.random.Generator) -> str:
    return "".join(part[int(rng.integers(len(part)))] for part in (_ONSETS, _VOWELS, _CODAS))
