"""Reading YAML 1.2, as DVC reads it: it writes `5e-05`, which YAML 1.1 takes for a string."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


def parse(text: bytes) -> Any:
    """The one document in `text`, as plain dicts, lists and scalars.

    libyaml is seven times as fast as ruamel's own parser, but stops at some of what YAML 1.2 added,
    such as addresses in a list in brackets.

    Raises:
        YAMLError: it is none.
    """
    try:
        return YAML(typ="safe").load(text)
    except YAMLError:
        return YAML(typ="safe", pure=True).load(text)
