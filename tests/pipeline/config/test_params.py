"""params.yaml: typed, complete, and wrong keys said in one line."""

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
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


NAMED = "scale: small\npreset: small\n"
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
    (tmp_path / "params.yaml").write_text(f"{NAMED}x: {{rate: 5e-05, kind: a}}\n")
    assert params.load(Inner, "x").rate == 5e-5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "params.yaml: not found"),
        ("scale: [", "params.yaml: not valid YAML"),
        ("a: 1\n", "params.yaml: scale: expected the name of a scale, found None"),
        ("scale: small\npreset: big\n", "`make scale SCALE=small`"),
        ("scale: small\npreset: small\n", "params.yaml: x: missing key"),
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


def test_later_blocks_win_at_any_depth(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(
        f"{NAMED}loop: {{z: 5}}\n"
        "f: {common: {x: 1, deep: {y: 2, z: 3}}, a: {x: 4, deep: {z: 6}}, b: {x: 7}}\n"
    )
    read = params.read()
    assert read.block("f.common", "f.a") == {"x": 4, "deep": {"y": 2, "z": 6}}
    assert read.block("f.common", "f.a", "f.b", "f.a")["x"] == 7  # a block counts once
    assert read.block("f.b", deep=("loop",)) == {"x": 7, "deep": {"z": 5}}
    assert read.block("f.a", deep=("loop",))["deep"] == {"z": 6}
    assert read.subtree("f.common") == {"x": 1, "deep": {"y": 2, "z": 3}}  # unchanged


def test_messages_name_the_block_that_has_the_value(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(
        f"{NAMED}f: {{common: {{rate: fast}}, a: {{kind: a, king: b}}, b: {{kind: a}}, c: {{}}}}\n"
    )
    for keys, words in {
        ("f.common", "f.a"): "params.yaml: f.a: unknown key king (known: rate, kind)",
        ("f.common", "f.b"): "params.yaml: f.common.rate: expected float, found 'fast'",
        ("f.b", "f.c"): "params.yaml: f.c.rate: missing key",
    }.items():
        with pytest.raises(UserError) as caught:
            params.load(Inner, *keys)
        assert str(caught.value) == words


def test_presets_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params").mkdir()
    for scale in ("small", "big"):
        text = f"scale: {scale}\npreset: {scale}\nx: 1\n"
        (tmp_path / "params" / f"{scale}.yaml").write_text(text)
    (tmp_path / "params.yaml").write_text(f"{NAMED}x: 2\n")
    assert params.presets() == ["big", "small"]
    assert params.preset("big").subtree("x") == 1
    assert params.preset("small").subtree("x") == 2  # params.yaml itself is that scale
    with pytest.raises(UserError, match="^unknown scale 'huge'; one of big, small$"):
        params.preset("huge")


BOMB = "a: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"b{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x: 1\nx: 2\n", "not valid YAML: .*duplicate key"),
        ("x:\n\trate: 1\n", "not valid YAML: .*line 4"),
        ("x: " + "[" * 100_000, "not valid YAML: .*more than 100 deep"),
        ("x: " + "[\n" * 5000 + "]" * 5000, "not valid YAML: .*more than 100 deep"),
        ("x:\n" + "- " * 50_000 + "1\n", "not valid YAML: .*more than 100 deep"),
        ("x: 2001-99-99\n", "not valid YAML: month must be"),
        ("x: 2001-01-01\n", "x: expected text or a number, found 2001-01-01; use quotes"),
        ("x: !!binary YQ==\n", "x: expected text or a number"),
        ("x: !!python/object/apply:os.getcwd []\n", "not valid YAML: .*constructor"),
        (f"x: {'9' * 5000}\n", "not valid YAML: .*digits"),
        (f"x: {'9' * 30}\n", "x: expected a number of at most 63 bits"),
        ("x: .nan\n", "x: expected a finite number, found nan"),
        ("x: [1, [-.inf]]\n", r"x\[1\]\[0\]: expected a finite number, found -inf"),
        ('x: "a\\0b"\n', "x: expected text"),
        ("? [1, 2]\n: 3\n", "expected a key of letters"),
        ("x: {1: 2}\n", "'x.1': expected a key of letters"),
        ("x: {../y: 2}\n", "'x.../y': expected a key of letters"),
        ("x: {/etc: 2}\n", "'x./etc': expected a key of letters"),
        ("x: &a [*a]\n", "more than 20,000 values"),
        (BOMB, "more than 20,000 values"),
        ("---\ny: 1\n", "not valid YAML: .*single document"),
        ("x: {size: 1}\n", "x.size: DVC's run cache does not see such keys"),
    ],
)
def test_what_yaml_can_do_besides(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(NAMED + text)
    with pytest.raises(UserError, match=f"^params.yaml: .*{words}") as caught:
        params.read()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale", ["..", "a/b", "/tmp", "", "a b", "é"])
def test_a_scale_is_a_name(tmp_path, monkeypatch, scale):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(f"scale: '{scale}'\npreset: '{scale}'\n")
    with pytest.raises(UserError, match="^params.yaml: scale: expected the name of a scale"):
        params.read()


@given(st.one_of(st.binary(max_size=60), st.text("{}[]:,-&*!?|>'\"#%@`\n\t ax1.", max_size=40)))
def test_any_bytes_are_parameters_or_one_line(content):
    if isinstance(content, str):
        content = f"{NAMED}x: {content}".encode()
    try:
        params._checked(params.FILE, content)
    except UserError as error:
        assert str(error).startswith("params.yaml: ") and "\n" not in str(error)
