"""Names are the field's, in American spelling as torch's API: words that they replaced stay away."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.helpers.tiny import ROOT

PACKAGES = ("model", "pipeline", "stages")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
PARAMETERS = [ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml"))]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

SPELLING = (
    r"\w*colour\w*|licences?|favour\w*|neighbour\w*|behaviour\w*|centre\w*|labell\w+|modell\w+"
)
ISE = r"(?:optim|normal|initial|standard|token|regular|visual|serial|quant|random)is(?:e|ed|er|ers|es|ing|ation)"
# Parts of identifiers, as snake_case and CamelCase divide them.
PARTS = re.compile(
    rf"pictures?|places|codes|rivals?|arrivals?|lanes?|leakage|told|hide|heldout|{SPELLING}|{ISE}"
)
# Whole names.
NAMES = {
    *("code_dim", "crop_max", "crop_min", "ffn_width", "floor_lr", "gates", "held_out", "holdout"),
    *("init_sigma", "jitter", "least_yield", "patience", "uniforms", "yields"),
}
# Words of docstrings, comments and pages.
PROSE = re.compile(rf"\b(?:pictures?|held[- ]out|hidden places?|{SPELLING}|{ISE})\b", re.IGNORECASE)


def parts(name: str) -> list[str]:
    """`MaskedModeling` as masked, modeling."""
    return [part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def replaced(names: Iterable[str]) -> set[str]:
    """Those names that are, or contain, a word that was replaced."""
    return {name for name in names if name in NAMES or any(map(PARTS.fullmatch, parts(name)))}


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Names of variables, attributes, arguments, functions, classes and modules."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield from value.split(".")


def keys(tree: Any) -> Iterator[str]:
    """Those of a tree of parameters, at any depth."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield str(key)
            yield from keys(value)


def prose(text: str) -> Iterator[str]:
    """Docstrings and comments."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def found(paths: Iterable[Path], words: Callable[[str], set[str]]) -> dict[str, set[str]]:
    """By file, the words that were replaced; files without any are left out."""
    reports = {
        str(path.relative_to(ROOT)): words(path.read_text(encoding="utf-8")) for path in paths
    }
    return {path: report for path, report in reports.items() if report}


def test_names() -> None:
    assert replaced(path.stem for path in FILES) == set()
    assert found(FILES, lambda text: replaced(identifiers(ast.parse(text)))) == {}


def test_keys_of_parameters() -> None:
    yaml = YAML(typ="safe", pure=True)
    assert found(PARAMETERS, lambda text: replaced(keys(yaml.load(text)))) == {}


def test_docstrings_and_comments() -> None:
    assert found(FILES, lambda text: set(PROSE.findall(" ".join(prose(text))))) == {}


def test_pages() -> None:
    assert found(PAGES, lambda text: set(PROSE.findall(text))) == {}
