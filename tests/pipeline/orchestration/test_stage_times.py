"""How much of a run is left, by what its stages took the last time."""

from pathlib import Path

import pytest

from pipeline.orchestration import stage_times
from pipeline.orchestration.groups import Group
from pipeline.orchestration.stage_times import StageTimes
from pipeline.utils import files

BOTH = frozenset({0, 1})
GROUPS = [Group(["a"], frozenset()), Group(["b"], frozenset())]
GROUPS += [Group(["c", "d"], BOTH), Group(["e"], BOTH)]
NEW = Group(["new"], frozenset({2, 3}))
LAST_RUN = {"a": 60.0, "b": 30.0, "c": 100.0, "d": 20.0, "e": 10.0}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which tests set."""
    now = [0.0]
    monkeypatch.setattr(stage_times.time, "monotonic", lambda: now[0])
    return now


def times_of(folder: Path, seconds: dict[str, float]) -> StageTimes:
    files.write_json(folder / "times.json", seconds)
    return StageTimes(folder / "times.json")


def test_what_runs_at_a_time_is_not_added_up(tmp_path: Path) -> None:
    times = times_of(tmp_path, LAST_RUN)
    assert times.left(GROUPS, 2) == 60 + 120
    assert times.left(GROUPS, 1) == 220


def test_what_is_done_or_skipped_is_over_and_what_runs_in_part(
    tmp_path: Path, now: list[float]
) -> None:
    times = times_of(tmp_path, LAST_RUN)
    times.begin("a")
    times.skip("b")
    now[0] = 45.0
    assert times.left(GROUPS, 2) == 15 + 120
    now[0] = 60.0
    times.end("a")
    assert times.left(GROUPS, 2) == 120


def test_the_pace_of_this_run_counts(tmp_path: Path, now: list[float]) -> None:
    times = times_of(tmp_path, LAST_RUN)
    times.begin("a")
    times.skip("b")
    now[0] = 180.0
    times.end("a")
    assert times.left(GROUPS, 2) == 120 * 2  # a minute of the last run's pace, three times as slow


def test_no_estimate_while_a_stage_that_is_to_come_has_never_run(
    tmp_path: Path, now: list[float]
) -> None:
    assert StageTimes(tmp_path / "none.json").left(GROUPS, 2) is None
    times = times_of(tmp_path, LAST_RUN | {"b": 30.0})
    assert times.left([*GROUPS, NEW], 2) is None
    times.begin("new")
    times.end("new")
    assert times.left([*GROUPS, NEW], 2) == 180


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_file_is_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "times.json").write_text(content)
    assert StageTimes(tmp_path / "times.json").left(GROUPS, 2) is None


def test_what_has_run_before_is_known(tmp_path: Path) -> None:
    times = times_of(tmp_path, LAST_RUN)
    assert times.knows([]) and times.knows(["a", "e"]) and not times.knows(["a", "new"])


def test_times_are_kept_for_the_next_run(tmp_path: Path, now: list[float]) -> None:
    times = StageTimes(tmp_path / "work/times.json")
    times.begin("a")
    now[0] = 12.34
    times.end("a")
    assert files.read_json(tmp_path / "work/times.json") == {"a": 12.3}
