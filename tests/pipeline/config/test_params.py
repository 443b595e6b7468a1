"""params.yaml: typed, complete, and wrong keys said in one line."""

from dataclasses import dataclass
from typing import Literal

import pytest
from ruamel.yaml import YAML

from pipeline.config import params, yaml_reader
from pipeline.errors import UserError


@dataclass(frozen=True)
class Inner:
    rate: float
    kind: Literal["a", "b"]


@dataclass(frozen=True)
class Outer:
    steps: int
    path: str | None
    inner: Inner


GOOD = {"steps": 3, "path": None, "inner": {"rate": 1, "kind": "a"}}


def test_a_block_becomes_a_dataclass_and_whole_numbers_serve_as_floats():
    loaded = params.convert(Outer, GOOD, "small.x")
    assert loaded == Outer(3, None, Inner(1.0, "a")) and type(loaded.inner.rate) is float


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stepps": 3}, "small.x: unknown key stepps"),
        ({"steps": 3.5}, "small.x.steps: expected int, found 3.5"),
        ({"steps": "3"}, "small.x.steps: expected int, found '3'"),
        ({"inner": {"rate": 1.0}}, "small.x.inner.kind: missing key"),
        ({"inner": {"rate": 1.0, "kind": "c"}}, "small.x.inner.kind: "),
        ({"inner": 5}, "small.x.inner"),
    ],
)
def test_what_is_wrong_is_named(change, words):
    with pytest.raises(UserError) as caught:
        params.convert(Outer, {**GOOD, **change}, "small.x")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_numbers_as_dvc_writes_them_are_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("scale: small\nsmall:\n  x: {rate: 5e-05, kind: a}\n")
    assert params.load(Inner, "x").rate == 5e-5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "params.yaml: not found"),
        ("scale: [", "params.yaml: not valid YAML"),
        ("scale: big\n", "scale: expected one of"),
        ("scale: small\n", "params.yaml: small: missing key"),
        ("- 1\n", "expected keys at the top level"),
    ],
)
def test_a_broken_file_is_said_in_one_line(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        params.load(Inner, "x")
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: 5e-05\nb: 1e-3\nc: [yes, off, 012]\nd: 1:30\n",
        "a: [https://one.example/x, two]\nb: 5e-05\n",
        "a: &base {b: 1, c: {d: 2}}\ne: {<<: *base, b: 3}\n",
        "",
    ],
)
def test_yaml_is_that_of_the_full_parser(text):
    """Also where the fast one gives up."""
    found, expected = yaml_reader.parse(text.encode()), YAML(typ="safe", pure=True).load(text)
    assert found == expected and repr(found) == repr(expected)


def test_a_block_like_another_has_its_values_but_for_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(
        "scale: small\nsmall: {a: {x: 1, deep: {y: 2, z: 3}}, b: {like: a, x: 4, deep: {z: 5}}}\n"
    )
    assert params.read()["small"] == {
        "a": {"x": 1, "deep": {"y": 2, "z": 3}},
        "b": {"x": 4, "deep": {"y": 2, "z": 5}},
    }
    (tmp_path / "params.yaml").write_text("scale: small\nsmall: {b: {like: a, x: 4}, a: {x: 1}}\n")
    with pytest.raises(UserError, match="^params.yaml: small.b.like: no block 'a' before it$"):
        params.read()
