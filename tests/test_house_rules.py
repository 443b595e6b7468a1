"""What linters cannot measure: how long functions, lines and folders are, and what has a name."""

import ast
import statistics
import sys
from pathlib import Path

import pytest

from tests.helpers.tiny import ROOT

PACKAGES = ("model", "pipeline", "stages")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
TEXTS = {path: path.read_text(encoding="utf-8") for path in FILES}
TREES = {path: ast.parse(text) for path, text in TEXTS.items()}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> list[tuple[str, Function]]:
    """All functions and methods, each with the name to report it by."""
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, Function)
    ]


def lines_of(node: Function) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def test_functions_are_short() -> None:
    lengths = {name: lines_of(node) for name, node in functions()}
    assert {name: length for name, length in lengths.items() if length > 60} == {}
    assert statistics.median(lengths.values()) <= 12


def test_lines_hold_one_thought() -> None:
    """At most two comprehensions in a hundred lines."""
    lines = sum(len(text.splitlines()) for text in TEXTS.values())
    nodes = (node for tree in TREES.values() for node in ast.walk(tree))
    assert sum(isinstance(node, COMPREHENSIONS) for node in nodes) <= 0.02 * lines


def test_lines_are_short() -> None:
    lengths = [len(line) for text in TEXTS.values() for line in text.splitlines()]
    assert sum(length > 100 for length in lengths) < 0.02 * len(lengths)


def test_folders_are_small() -> None:
    folders = {path.parent for path in FILES}
    modules = {folder: len(list(folder.glob("[!_]*.py"))) for folder in folders}
    assert {folder: count for folder, count in modules.items() if count > 20} == {}


def test_no_module_is_called_like_one_of_the_standard_library() -> None:
    clashes = {path for path in FILES if module_name(path) in sys.stdlib_module_names}
    assert clashes == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_is_a_package_that_says_what_it_holds(package: str) -> None:
    folders = {path.parent for path in FILES if path.is_relative_to(ROOT / package)}
    for folder in sorted(folders):
        tree = TREES.get(folder / "__init__.py")
        assert tree is not None and ast.get_docstring(tree), folder


def test_public_functions_are_typed() -> None:
    untyped = [name for name, node in functions() if is_public(node) and not is_typed(node)]
    assert untyped == []


def module_name(path: Path) -> str:
    return path.parent.name if path.stem == "__init__" else path.stem


def is_public(node: Function) -> bool:
    return node.name == "__init__" or not node.name.startswith("_")


def is_typed(node: Function) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    if any(arg.annotation is None for arg in arguments if arg.arg not in ("self", "cls")):
        return False
    return node.returns is not None or node.name == "__init__"
