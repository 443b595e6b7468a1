"""Reading YAML 1.2, as DVC reads it: it writes `5e-05`, which YAML 1.1 takes for a string."""

import re
from itertools import accumulate
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

MAX_DEPTH = 100  # of brackets in brackets; libyaml crashes at some ten thousand
_DEEPER = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}
_NESTED_LISTS = re.compile(rb"(?:[-?][ \t]+){%d}" % MAX_DEPTH)  # in one line


def parse(text: bytes) -> Any:
    """The one document in `text`, as plain dicts, lists and scalars.

    libyaml is seven times as fast as ruamel's own parser, but stops at some of what YAML 1.2 added,
    such as addresses in a list in brackets.

    Raises:
        YAMLError: it is none.
    """
    steps = [_DEEPER[bracket] for bracket in re.findall(rb"[\[\]{}]", text)]
    if max(accumulate(steps), default=0) > MAX_DEPTH or _NESTED_LISTS.search(text):
        raise YAMLError(f"lists or blocks in each other, more than {MAX_DEPTH} deep")
    try:
        return YAML(typ="safe").load(text)
    except (YAMLError, ValueError):
        return _parse_slowly(text)


def _parse_slowly(text: bytes) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    # of numbers and dates that are none, and of what is in itself
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise YAMLError(str(error)) from None
