"""params.yaml as frozen dataclasses: every key known, typed and present, or a one-line error that
names it."""

import math
from copy import deepcopy
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import dacite
from ruamel.yaml.error import YAMLError

from pipeline.config import limits, yaml_reader
from pipeline.errors import UserError

T = TypeVar("T")
Tree = dict[str, Any]
Keys = tuple[str, ...]  # dotted
FILE = Path("params.yaml")
FINE_TUNES = Path("fine_tunes.yaml")
PRESETS = Path("params")
# DVC leaves such keys, which it means of files, out of the hash by which it finds a finished run: two
# values would be one run, with the model of the first.
_UNSEEN = ("size", "nfiles")
MAX_VALUES = 20_000  # of a file, ten times what there is; aliases of aliases would be billions


@dataclass(frozen=True)
class Params:
    """A file of parameters."""

    file: Path
    tree: Tree  # not to be changed

    @property
    def scale(self) -> str:
        """The name that the folders of data, runs and results have."""
        return self.tree["scale"]

    def subtree(self, key: str) -> Any:
        """The plain value under a dotted key."""
        node: Any = self.tree
        for depth, part in enumerate(parts := key.split("."), 1):
            if not isinstance(node, dict) or part not in node:
                raise UserError(f"{self.file}: {'.'.join(parts[:depth])}: missing key")
            node = node[part]
        return node

    def block(self, *keys: str, **nested: Keys) -> Tree:
        """The blocks under dotted keys as one: what stands in a later one wins, at any depth.

        `nested` names the blocks from which a key of the result starts: with `loop=("loop",)` the
        result's `loop` has what the top-level block says and the others do not.
        """
        merged: Tree = {name: self.block(*starts) for name, starts in nested.items()}
        for key in dict.fromkeys(keys):
            merged = _merged(merged, self._block(key))
        return merged

    def load(self, cls: type[T], *keys: str, **nested: Keys) -> T:
        """The block that `keys` and `nested` make (see `block`) as a `cls`.

        Raises:
            UserError: a key is missing, unknown or of the wrong type; the message names it.
        """
        return _convert(cls, self.block(*keys, **nested), keys, self)

    def _block(self, key: str) -> Tree:
        block = self.subtree(key)
        if not isinstance(block, dict):
            raise UserError(f"{self.file}: {key}: expected a block of keys, found {block!r}")
        return block


def read() -> Params:
    """params.yaml of the current folder.

    Raises:
        UserError: it is not there, no YAML, or does not say which scale it is.
    """
    return _checked(FILE, _bytes(FILE))


def preset(scale: str) -> Params:
    """The preset of a scale: params.yaml if that is the scale that runs, else `params/SCALE.yaml`.

    Raises:
        UserError: there is none of this name; the message lists them.
    """
    current = read()
    if scale == current.scale:
        return current
    if scale not in presets():
        raise UserError(f"unknown scale {scale!r}; one of {', '.join(presets())}")
    path = PRESETS / f"{scale}.yaml"
    return _checked(path, _bytes(path))


def presets() -> list[str]:
    """Names of the scales that have a preset."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def lists(own: Params | None = None) -> Params:
    """What is fine-tuned and what is evaluated, under the keys `fine_tunes` and `evaluations`:
    fine_tunes.yaml's, and what `own`, by default params.yaml, adds to them at its scale, as DVC
    merges the two.

    Raises:
        UserError: a name is in both files.
    """
    own = own or read()
    lists = _parsed(FINE_TUNES, _bytes(FINE_TUNES))
    added = {key: own.subtree(key) for key in lists}
    for key, block in added.items():
        if twice := sorted(block.keys() & lists[key].keys()):
            raise UserError(f"{own.file}: {key}.{twice[0]}: {FINE_TUNES} has this name, too")
    return Params(FINE_TUNES, _merged(lists, added))


def listed(cls: type[T], key: str, name: str, own: Params | None = None) -> T:
    """An entry of the list `key`, see `lists`, as a `cls`. Raises UserError for a name that is
    none."""
    every = lists(own)
    known = every.subtree(key)
    if name not in known:
        noun = key.removesuffix("s").replace("_", "-")
        raise UserError(f"{every.file}: no {noun} {name!r}; one of {', '.join(known)}")
    return every.load(cls, f"{key}.{name}")


def scale() -> str:
    """The scale that runs."""
    return read().scale


def load(cls: type[T], *keys: str, **nested: Keys) -> T:
    """Blocks of params.yaml as a `cls`, see `Params.load`."""
    return read().load(cls, *keys, **nested)


def subtree(key: str) -> Any:
    """The plain value under a dotted key of params.yaml."""
    return read().subtree(key)


def convert(cls: type[T], tree: Any, key: str) -> T:
    """A plain tree as a `cls`; `key` is where it stands, for messages.

    Raises:
        UserError: a key is missing, unknown or of the wrong type; the message names it.
    """
    return _convert(cls, tree, (key,), None)


def _convert(cls: type[T], tree: Any, keys: Keys, params: Params | None) -> T:
    file = params.file if params else FILE
    if not isinstance(tree, dict):
        raise UserError(f"{file}: {keys[-1]}: expected a block of keys, found {tree!r}")
    try:
        loaded = dacite.from_dict(cls, tree, _DACITE)
    except dacite.UnexpectedDataError as error:
        unknown = sorted(error.keys)
        known = ", ".join(field.name for field in fields(cast(Any, cls)))
        where = _owner(keys, unknown[0], params)
        raise UserError(
            f"{file}: {where}: unknown key {', '.join(unknown)} (known: {known})"
        ) from None
    except dacite.MissingValueError as error:
        raise UserError(f"{file}: {keys[-1]}.{error.field_path}: missing key") from None
    except dacite.WrongTypeError as error:
        expected = getattr(error.field_type, "__name__", str(error.field_type))
        path = error.field_path or ""
        raise UserError(
            f"{file}: {_owner(keys, path, params)}.{path}: expected {expected}, "
            f"found {error.value!r}"
        ) from None
    except ValueError as error:  # of a class that checks itself
        raise UserError(f"{file}: {keys[-1]}: {error}") from None
    for path, expected, found in limits.faults(loaded, cls):
        key = _owner(keys, path.partition("[")[0], params)
        raise UserError(f"{file}: {key}.{path}: expected {expected}, found {found!r}")
    return loaded


def _owner(keys: Keys, path: str, params: Params | None) -> str:
    """The last of the blocks that has a value at a dotted path in it, or else the last of all."""
    for key in reversed(keys):
        node: Any = params.subtree(key) if params else _ABSENT
        for part in path.split("."):
            node = node.get(part, _ABSENT) if isinstance(node, dict) else _ABSENT
        if node is not _ABSENT:
            return key
    return keys[-1]


_ABSENT = object()


def _merged(block: Tree, changes: Tree) -> Tree:
    """A copy of a block with other values, of blocks within it at any depth, too."""
    out = deepcopy(block)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(out.get(name), dict)
        out[name] = _merged(out[name], value) if both else deepcopy(value)
    return out


def _bytes(path: Path) -> bytes:
    if path.exists() and not path.is_file():  # to open a FIFO is to wait for a writer
        raise UserError(f"{path}: not a file")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run from the project's root") from None


@lru_cache(maxsize=4)
def _parsed(path: Path, text: bytes) -> Tree:
    """A file's tree; parsed once, as a stage asks for several blocks."""
    try:
        tree = yaml_reader.parse(text)
    except YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected keys at the top level")
    _check_values(path, tree)
    return tree


def _checked(path: Path, text: bytes) -> Params:
    """A file that says which scale it is."""
    tree = _parsed(path, text)
    for key in ("scale", "preset"):
        if not limits.is_name(tree.get(key)):
            raise UserError(f"{path}: {key}: expected the name of a scale, found {tree.get(key)!r}")
    if tree["scale"] != tree["preset"]:
        raise UserError(
            f"{path}: scale: {tree['scale']}, but preset: {tree['preset']}; "
            f"`make scale SCALE={tree['scale']}` sets both and all that belongs to them"
        )
    return Params(path, tree)


def _int(value: Any) -> Any:
    """YAML's `true` is no 1."""
    if isinstance(value, bool):
        raise dacite.WrongTypeError(int, value)
    return value


def _float(value: Any) -> Any:
    """Whole numbers serve as floats: YAML has no other way to say `1.0` shortly."""
    return float(value) if type(value) is int else _int(value)


_DACITE = dacite.Config(strict=True, type_hooks={int: _int, float: _float})


def _check_values(path: Path, tree: Tree) -> None:
    """Every key is a name, so that it can be part of a path, and every value a string, a number,
    true, false or nothing, at any depth.

    Raises:
        UserError: the first that is not; or there are too many, as where aliases stand for aliases.
    """
    open_nodes: list[tuple[str, Any]] = [("", tree)]
    for number, (key, node) in enumerate(open_nodes):
        if number > MAX_VALUES:
            raise UserError(f"{path}: more than {MAX_VALUES:,} values, counting those of aliases")
        if isinstance(node, dict):
            for name, value in node.items():
                inner = f"{key}.{name}".lstrip(".")
                if not limits.is_name(name):
                    raise UserError(
                        f"{path}: {inner!r}: expected a key of letters, digits, _ and -"
                    )
                if name in _UNSEEN:
                    raise UserError(
                        f"{path}: {inner}: DVC's run cache does not see such keys; rename it"
                    )
                open_nodes.append((inner, value))
        elif isinstance(node, list):
            open_nodes += [(f"{key}[{index}]", value) for index, value in enumerate(node)]
        elif fault := _scalar_fault(node):
            raise UserError(f"{path}: {key}: {fault}")


def _scalar_fault(value: Any) -> str | None:
    """What is wrong with a value that is neither block nor list."""
    if isinstance(value, str):
        damaged = "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value)
        return f"expected text, found {value!r}" if damaged else None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"expected a finite number, found {value}"
    if isinstance(value, int):
        return None if abs(value) < 2**63 else "expected a number of at most 63 bits"
    return None if value is None else f"expected text or a number, found {value}; use quotes"
