"""Any value at any key of params.yaml is used or refused, in one line that names the key."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import limits, params
from pipeline.config.params import Params
from pipeline.errors import UserError
from tests.helpers.blocks import leaves, load_all, replaced, value_at
from tests.helpers.tiny import ROOT

SMALL = params._parsed(ROOT / "params/small.yaml", (ROOT / "params/small.yaml").read_bytes())
LEAVES = sorted(leaves(SMALL))
NUMBERS = [path for path in LEAVES if type(value_at(SMALL, path)) in (int, float)]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["..", "/etc", "../x", "1e3", "true", "no"]),
    st.dates(),
    st.binary(max_size=3),
    st.lists(st.integers(-3, 3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@pytest.fixture(autouse=True, scope="module")
def root() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # for fine_tunes.yaml
        yield


def line_of(path: tuple[str, ...], value: Any) -> str | None:
    """What is said of the small preset with another value; None where it is used."""
    tree = replaced(SMALL, path, value)
    try:
        params._check_values(Path("params.yaml"), tree)
        load_all(Params(Path("params.yaml"), tree), path[0])
    except UserError as error:
        return str(error)
    return None


@given(path=st.sampled_from(LEAVES), value=SCALARS)
@settings(max_examples=50)
def test_any_value_at_any_key_is_used_or_named_in_one_line(path, value):
    line = line_of(path, value)
    if line is not None:
        assert line.startswith("params.yaml: ") and "\n" not in line
        assert path[-1] in line or ".".join(path[:-1]) in line


@pytest.mark.parametrize("value", [-1, 0, 10**15, True])
def test_every_number_has_a_range(value):
    """Zero counts as many things, and as huge as they like may be what ends with the data."""
    lines = {path: line_of(path, value) for path in NUMBERS}
    for path, line in lines.items():
        assert line is None or path[-1] in line or ".".join(path[:2]) in line, (path, line)
        if value in (-1, True) and path[:2] != ("synthetic", "sizes"):
            assert line is not None, path
    assert len([line for line in lines.values() if line]) > len(lines) / 4


@pytest.mark.parametrize(
    ("hint", "good", "bad", "words"),
    [
        (limits.Count, 1, 0, "at least 1 and at most 2,147,483,647"),
        (limits.ShareBelowOne, 0.0, 1.0, "at least 0 and less than 1"),
        (limits.Positive, 1e-9, 0.0, "more than 0"),
        (limits.Share | None, None, 1.5, "at least 0 and at most 1"),
        (limits.Betas, [0.9, 0.1], [0.9], "2 numbers"),
        (limits.ShareRange, [0.1, 0.2], [0.2, 0.1], "the lower number first"),
        (limits.Factors, [1.0], [], "some numbers"),
        (limits.Name, "a-B_1", "a/b", "a name of letters"),
        (
            limits.RunName,
            "finetune/a",
            "finetune/../a",
            "pretrain/, finetune/ or import/ and a name",
        ),
        (dict[str, limits.Count], {"a": 1}, {"a": 0}, "at least 1"),
        (list[Annotated[int, limits.Interval(2, 3)]], [2], [4], "at most 3"),
        (float, 1e300, -1e-300, "at least 0"),
    ],
)
def test_limits(hint, good, bad, words):
    assert list(limits.faults(good, hint)) == []
    ((_, expected, _),) = limits.faults(bad, hint)
    assert words in expected
