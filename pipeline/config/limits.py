"""What values parameters may have beyond their types: `Annotated` types for the dataclasses that
params.yaml becomes, and the check.

A number that says nothing else is at least 0 and finite.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`; of a range without an end `high` is infinite."""

    low: float
    high: float
    without_low: bool = False
    without_high: bool = False

    def fault(self, value: Any) -> str | None:
        """What should be in place of `value`; None where it is in the interval."""
        above = value > self.low if self.without_low else value >= self.low
        below = value < self.high if self.without_high else value <= self.high
        if above and below and math.isfinite(value):
            return None
        low = f"{'more than' if self.without_low else 'at least'} {self.low:,}"
        high = f"{'less than' if self.without_high else 'at most'} {self.high:,}"
        return low if self.high == math.inf else f"{low} and {high}"


@dataclass(frozen=True)
class Pattern:
    """Strings that a regular expression describes wholly; `words` say so to people."""

    expression: str
    words: str

    def fault(self, value: Any) -> str | None:
        """What should be in place of `value`; None where it fits."""
        return None if re.fullmatch(self.expression, value) else self.words


@dataclass(frozen=True)
class Numbers:
    """Lists of numbers in an interval: so many, or at least one where `count` is 0; in a range the
    lower one comes first."""

    interval: Interval
    count: int = 0
    ordered: bool = False

    def fault(self, value: Any) -> str | None:
        """What should be in place of `value`; None where it is such a list."""
        if not value or len(value) != (self.count or len(value)):
            return f"{self.count or 'some'} numbers"
        if self.ordered and value != sorted(value):
            return "the lower number first"
        return next(filter(None, map(self.interval.fault, value)), None)


_NAME = "[A-Za-z0-9_-]+"
_FINITE = Interval(0, math.inf)

Count = Annotated[int, Interval(1, 2**31 - 1)]
Pixels = Annotated[int, Interval(1, 16_384)]  # of a side; of an image that a network sees
Width = Annotated[int, Interval(1, 65_536)]  # of vectors and vocabularies, length of texts
Layers = Annotated[int, Interval(1, 1_000)]
Processes = Annotated[int, Interval(0, 1_024)]  # or threads; 0: none beside this one
Threads = Annotated[int, Interval(1, 1_024)]
Positive = Annotated[float, Interval(0, math.inf, without_low=True)]
Share = Annotated[float, Interval(0, 1)]
ShareAboveZero = Annotated[float, Interval(0, 1, without_low=True)]
ShareBelowOne = Annotated[float, Interval(0, 1, without_high=True)]
TextLength = Annotated[int, Interval(3, 65_536)]  # ids, two special ones included
Precision = Literal["fp32", "bf16"]  # bf16: autocast; weights stay fp32
TrainingPrecision = Literal["fp32", "bf16", "auto"]  # auto: pipeline/training/precision.py
Passes = Annotated[int, Interval(0, 1_000)]  # of an epoch through a source
Quality = Annotated[int, Interval(1, 95)]  # of JPEG
SplitName = Literal["train", "val", "test"]
Betas = Annotated[list[float], Numbers(Interval(0, 1, without_high=True), 2)]
ShareRange = Annotated[list[float], Numbers(Interval(0, 1, without_low=True), 2, ordered=True)]
Factors = Annotated[list[float], Numbers(Interval(0.01, 100))]
FactorRange = Annotated[list[float], Numbers(Interval(0.01, 100), 2, ordered=True)]
Name = Annotated[str, Pattern(_NAME, "a name of letters, digits, _ and -")]
FileName = Annotated[
    str, Pattern(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", "a file name of letters, digits, _, - and .")
]
RunName = Annotated[
    str,
    Pattern(f"(pretrain|finetune|import)/{_NAME}", "pretrain/, finetune/ or import/ and a name"),
]


def is_name(value: Any) -> bool:
    """Whether a value may be part of a path: letters, digits, `_` and `-`."""
    return isinstance(value, str) and re.fullmatch(_NAME, value) is not None


def faults(value: Any, hint: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Of a value of the type `hint`: dotted path, what is expected, and what is found, for all that
    is against a limit."""
    if value is None:
        return
    limits, hint = _limits(hint)
    for limit in limits:
        if words := limit.fault(value):
            yield path, words, value
    if is_dataclass(value):
        cls: Any = type(value)
        for name, inner in _hints(cls).items():
            if hasattr(value, name):
                yield from faults(getattr(value, name), inner, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from faults(item, _argument(hint, 0), f"{path}[{number}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from faults(item, _argument(hint, 1), f"{path}.{name}")
    elif type(value) in (int, float) and not limits and (words := _FINITE.fault(value)):
        yield path, words, value


@cache
def _hints(cls: type) -> dict[str, Any]:
    """The types of a class's fields, with their limits."""
    return get_type_hints(cls, include_extras=True)


def _limits(hint: Any) -> tuple[list[Any], Any]:
    """The limits of a type, and the type without them; of an optional one, those of its values."""
    if get_origin(hint) is Annotated:
        base, *limits = get_args(hint)
        return limits, base
    if get_origin(hint) in (Union, UnionType):
        inner = [kind for kind in get_args(hint) if kind is not type(None)]
        return _limits(inner[0]) if len(inner) == 1 else ([], hint)
    return [], hint


def _argument(hint: Any, index: int) -> Any:
    """What a list or dict type says of its values."""
    arguments = get_args(hint)
    return arguments[index] if index < len(arguments) else Any
