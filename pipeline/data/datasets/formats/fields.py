"""Fields of records in other people's JSON, each of the type that is needed."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from pipeline.data.records import Rejected

# Stands for a text that is none: `records.fault` calls it damaged.
DAMAGED = "\ufffd"
_MOST_DAMAGED = 100_000  # records of a file, unless twice as many are not (choice)
_LARGEST = 1 << 63  # of ids; shards have 64 bits for one
_TYPES = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list"}
_T = TypeVar("_T")


class BadRecord(Exception):
    """A record lacks a field, or has one of the wrong type. The message is the reason: `kind:
    detail`."""


def parsed(items: Iterable[Any], parse: Callable[[Any], _T], where: str) -> Iterator[_T | Rejected]:
    """The items of an array, each parsed by a function that raises BadRecord, or rejected under the
    key `<where>[<index>]`. Raises ValueError: nearly all of very many are."""
    damaged = 0
    for number, item in enumerate(items):
        try:
            yield parse(item)
        except BadRecord as error:
            damaged += 1
            if damaged > max(_MOST_DAMAGED, number / 2):
                raise ValueError(
                    f"{damaged:,} of the first {number + 1:,} records are damaged: {error}"
                ) from None
            yield Rejected(f"{where}[{number}]", str(error))


def parse(line: str) -> Any:
    """The JSON value of a line. Raises BadRecord."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"damaged line: {error}") from None


def value(record: Any, name: str) -> Any:
    """A field of any type. Raises BadRecord: there is none, or the record is no object."""
    try:
        return record[name]
    except TypeError:  # no other JSON value takes a string between brackets
        raise BadRecord(f"damaged record: {_kind(record)} in place of an object") from None
    except KeyError:
        raise BadRecord(f"damaged record: no {name}") from None


def text(record: Any, name: str) -> str:
    """A field that is a string. Raises BadRecord."""
    found = value(record, name)
    if isinstance(found, str):
        return found
    raise _wrong(name, found, "text")


def text_or_damaged(record: Any, name: str) -> str:
    """A field that is a string, or DAMAGED: for one text of many in a record."""
    try:
        return text(record, name)
    except BadRecord:
        return DAMAGED


def integer(record: Any, name: str) -> int:
    """A whole number of 64 bits, which some writers spell `7.0` or "7". Raises BadRecord."""
    found = value(record, name)
    if type(found) is int and -_LARGEST <= found < _LARGEST:
        return found
    if isinstance(found, str) and found.isdecimal() and len(found) < 20:
        found = int(found)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or not -_LARGEST <= found < _LARGEST:
        raise _wrong(name, found, "a whole number of 64 bits")
    return found


def items(record: Any, name: str) -> list[Any]:
    """A field that is a list. Raises BadRecord."""
    found = value(record, name)
    if isinstance(found, list):
        return found
    raise _wrong(name, found, "a list")


def _wrong(name: str, found: Any, wanted: str) -> BadRecord:
    return BadRecord(f"damaged record: {name} is {_kind(found)} in place of {wanted}")


def _kind(found: Any) -> str:
    if found is None:
        return "null"
    return _TYPES.get(type(found), "an object")
