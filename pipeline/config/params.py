"""params.yaml as frozen dataclasses: every key known, typed and present, or a one-line error that
names it."""

from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import dacite
from ruamel.yaml.error import YAMLError

from pipeline.config import yaml_reader
from pipeline.errors import UserError

T = TypeVar("T")
FILE = Path("params.yaml")
SCALES = ("small", "medium", "paper")
LIKE = "like"


def read() -> dict[str, Any]:
    """The whole file, each block as `inherited` makes it; not to be changed by the caller."""
    try:
        tree = _parse(FILE.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{FILE}: not found; run from the project's root") from None
    except YAMLError as error:
        raise UserError(f"{FILE}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{FILE}: expected keys at the top level")
    return tree


def inherited(tree: dict[str, Any], key: str = "") -> dict[str, Any]:
    """A tree in which every block `{like: other, ...}` has all that the block `other` beside it
    has, but for what it says itself. YAML's own merge keys would share what is nested: `dvc exp run
    -S` then changes neither block.

    Raises:
        UserError: there is no such block beside it, or it comes later.
    """
    out: dict[str, Any] = {}
    for name, value in tree.items():
        block = inherited(value, f"{key}{name}.") if isinstance(value, dict) else value
        if isinstance(block, dict) and LIKE in block:
            other = out.get(block[LIKE])
            if not isinstance(other, dict):
                raise UserError(f"{FILE}: {key}{name}.{LIKE}: no block {block[LIKE]!r} before it")
            block = _merged(other, {part: own for part, own in block.items() if part != LIKE})
        out[name] = block
    return out


def _merged(block: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A copy of a block with other values, of blocks within it at any depth too."""
    out = deepcopy(block)
    for name, value in own.items():
        both = isinstance(value, dict) and isinstance(out.get(name), dict)
        out[name] = _merged(out[name], value) if both else value
    return out


def scale() -> str:
    """The scale that this run uses: the value of the first line of params.yaml."""
    name = read().get("scale")
    if name not in SCALES:
        raise UserError(f"{FILE}: scale: expected one of {', '.join(SCALES)}, found {name!r}")
    return name


def load(cls: type[T], key: str) -> T:
    """The block `key` (dotted) of the chosen scale as a `cls`."""
    return load_shared(cls, f"{scale()}.{key}")


def load_shared(cls: type[T], key: str) -> T:
    """The block `key` (dotted, from the top of the file) as a `cls`.

    Raises:
        UserError: a key is missing, unknown or of the wrong type; the message names it.
    """
    return convert(cls, subtree(key), key)


def subtree(key: str) -> Any:
    """The plain value under a dotted key."""
    node: Any = read()
    for depth, part in enumerate(parts := key.split("."), 1):
        if not isinstance(node, dict) or part not in node:
            raise UserError(f"{FILE}: {'.'.join(parts[:depth])}: missing key")
        node = node[part]
    return node


def convert(cls: type[T], tree: Any, key: str) -> T:
    """A plain tree as a `cls`; `key` is where the tree stands, for messages."""
    if not isinstance(tree, dict):
        raise UserError(f"{FILE}: {key}: expected a block of keys, found {tree!r}")
    try:
        return dacite.from_dict(cls, _floats(cls, tree), dacite.Config(strict=True))
    except dacite.UnexpectedDataError as error:
        raise UserError(
            f"{FILE}: {key}: unknown key {', '.join(sorted(error.keys))}"
            f" (known: {', '.join(f.name for f in fields(cls))})"
        ) from None
    except dacite.MissingValueError as error:
        raise UserError(f"{FILE}: {key}.{error.field_path}: missing key") from None
    except dacite.WrongTypeError as error:
        expected = getattr(error.field_type, "__name__", str(error.field_type))
        raise UserError(
            f"{FILE}: {key}.{error.field_path}: expected {expected}, found {error.value!r}"
        ) from None


@lru_cache(maxsize=1)
def _parse(text: bytes) -> Any:  # once, as a stage asks for several blocks
    tree = yaml_reader.parse(text)
    return inherited(tree) if isinstance(tree, dict) else tree


def _floats(cls: type, tree: dict[str, Any]) -> dict[str, Any]:
    """Write `1` as `1.0` where a float is expected: YAML has no other way to say it shortly."""
    out = dict(tree)
    for field in fields(cls):
        value = out.get(field.name)
        if field.type is float and type(value) is int:
            out[field.name] = float(value)
        elif is_dataclass(field.type) and isinstance(value, dict):
            out[field.name] = _floats(field.type, value)
    return out
