"""Whether what a config.json says is of the types that a configuration has."""

import math
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

LARGEST = 2**31 - 1  # of any number: what is larger is no size of a model


def check(value: Any, hint: Any, name: str = "config") -> None:
    """Compare JSON with a dataclass, or with the type of one of its fields. Missing and unknown
    keys are left to its constructor.

    Raises:
        ValueError: another type, a number that is not finite or of no use as a size. One line that
            names the key.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        _check_fields(value, hint, name)
    elif origin in (Union, UnionType):
        if value is not None or NoneType not in parts:
            check(value, next(part for part in parts if part is not NoneType), name)
    elif origin is Literal:
        _require(
            any(value == part and type(value) is type(part) for part in parts), name, parts, value
        )
    elif origin in (list, tuple):
        _require(isinstance(value, list), name, "a list", value)
        for index, part in enumerate(value):
            check(part, parts[0], f"{name}[{index}]")
    elif hint in (int, float, bool, str):
        _require(_is(value, hint), name, hint.__name__, value)


def _check_fields(value: Any, dataclass: Any, name: str) -> None:
    _require(isinstance(value, dict), name, "an object", value)
    hints = get_type_hints(dataclass)
    for field in fields(dataclass):
        if field.name in value:
            check(value[field.name], hints[field.name], f"{name}.{field.name}")


def _is(value: Any, kind: type) -> bool:
    if kind in (bool, str):
        return isinstance(value, kind)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if kind is int:
        return isinstance(value, int) and 0 <= value <= LARGEST
    return math.isfinite(value) and abs(value) <= LARGEST


def _require(condition: bool, name: str, expected: object, value: object) -> None:
    if not condition:
        raise ValueError(f"{name}: expected {expected}, found {repr(value)[:60]}")
