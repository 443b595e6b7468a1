"""Stages that do not depend on each other run at a time, each once, and one that fails ends all."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import networkx as nx
import psutil
import pytest

from pipeline.errors import UserError
from pipeline.orchestration.groups import Group, groups, outdated
from pipeline.orchestration.side_by_side import SideBySide
from pipeline.orchestration.stage_times import StageTimes
from pipeline.utils import files
from tests.helpers import tiny
from tests.helpers.processes import is_alive

# Two data sets, a tokenizer of both, and two models with two fine-tunes each.
EDGES = [("a", "t"), ("b", "t")]
EDGES += [("t", model) for model in ("m", "n")]
EDGES += [(model, f"{model}{task}") for model in ("m", "n") for task in "12"]


def test_a_part_with_many_stages_is_divided_and_its_parts_wait() -> None:
    planned = groups(nx.DiGraph(EDGES), 2)
    assert [group.stages for group in planned[:5]] == [["a"], ["b"], ["t"], ["m"], ["n"]]
    assert [set(group.after) for group in planned[:5]] == [set(), set(), {0, 1}, {2}, {2}]
    assert {tuple(group.stages): set(group.after) for group in planned[5:]} == {
        ("m1",): {3},
        ("m2",): {3},
        ("n1",): {4},
        ("n2",): {4},
    }


def test_a_small_part_and_a_chain_are_one_group() -> None:
    lone = [("x", "y"), ("y", "z")]
    assert groups(nx.DiGraph(lone), 3) == [Group(["x", "y", "z"], frozenset())]
    assert Group(["x", "y", "z"], frozenset()) in groups(nx.DiGraph(EDGES + lone), 2)
    (one,) = groups(nx.DiGraph(EDGES), 1)
    assert sorted(one.stages) == sorted(nx.DiGraph(EDGES))


@pytest.mark.parametrize("at_a_time", [1, 2, 3])
@pytest.mark.parametrize("seed", range(30))
def test_a_stage_comes_once_and_after_all_that_it_depends_on(at_a_time: int, seed: int) -> None:
    graph = nx.gnp_random_graph(40, 0.08, seed=seed, directed=True)
    graph = nx.DiGraph((str(a), str(b)) for a, b in graph.edges if a < b)
    planned = groups(graph, at_a_time)
    for index, group in enumerate(planned):
        assert all(before < index for before in group.after)
        known = {stage for before in group.after for stage in planned[before].stages}
        for stage in group.stages:
            assert set(graph.predecessors(stage)) <= known, "of a group before, or above"
            known.add(stage)
    assert sorted(stage for group in planned for stage in group.stages) == sorted(graph)


def test_what_depends_on_a_changed_stage_is_outdated() -> None:
    assert set(outdated(nx.DiGraph(EDGES), {"m"})) == {"m", "m1", "m2"}
    assert not outdated(nx.DiGraph(EDGES), set())


INTERRUPTED = """
from pathlib import Path
import networkx as nx
from pipeline.orchestration.groups import groups
from pipeline.orchestration.side_by_side import SideBySide
from pipeline.orchestration.stage_times import StageTimes
from pipeline.utils.entry_point import entry
entry(SideBySide(groups(nx.DiGraph([("sleeps", "x")]), 2), 2, StageTimes(Path("times.json"))).run)
"""


def side_by_side(*stages: str, then: str | None = None) -> SideBySide:
    planned = [Group([stage], frozenset()) for stage in stages]
    if then:
        planned.append(Group([then], frozenset(range(len(stages)))))
    return SideBySide(planned, 2, StageTimes(Path("times.json")))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for DVC with two stages, each of which waits until the other one has begun, and a
    third that fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tiny.ROOT))
    subprocess.run(["dvc", "init", "--quiet", "--no-scm"], check=True)
    wait = "for _ in $(seq 300); do test -e {1} && break; sleep 0.1; done; test -e {1}"
    lines = ["stages:"]
    for here, there in (("x", "y"), ("y", "x")):
        cmd = f"touch {here}.begun; {wait.format(0, there + '.begun')} && echo of {here} > {here}"
        lines += [f"  {here}:", f"    cmd: {cmd}", f"    outs: [{here}]"]
    lines += ["  fails:", "    cmd: 'echo no room; exit 3'", "    outs: [z]"]
    lines += ["  sleeps:", "    cmd: 'sleep 300; touch w'", "    outs: [w]"]
    lines += ["  slow:", "    cmd: 'sleep 4; touch v'", "    outs: [v]"]
    lines += ["  after:", "    cmd: touch u", "    deps: [v]", "    outs: [u]"]
    Path("dvc.yaml").write_text("\n".join(lines))
    return tmp_path


def test_two_stages_run_at_a_time_and_both_are_recorded(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    side_by_side("x", "y").run()
    printed = capsys.readouterr().out.splitlines()
    assert sorted(line.split("] ")[1] for line in printed) == ["x", "y"]
    assert printed[0].startswith("[1 of 2] ") and printed[1].startswith("[2 of 2] ")
    status = subprocess.run(["dvc", "status", "x", "y"], check=True, capture_output=True, text=True)
    assert "up to date" in status.stdout
    assert set(files.read_json(Path("times.json"))) == {"x", "y"}


def test_a_second_run_says_what_is_left(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files.write_json(Path("times.json"), {"x": 50.0, "y": 40.0})
    side_by_side("x", "y").run()
    first = capsys.readouterr().out.splitlines()[0]
    assert re.match(r"\[1 of 2, 0:\d\d left\] [xy]$", first)
    assert files.read_json(Path("times.json"))["x"] < 40


def test_what_is_skipped_is_counted_and_not_timed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    side_by_side("x", "y").run()
    Path("times.json").unlink()
    capsys.readouterr()
    side_by_side("x").run()
    assert capsys.readouterr().out == "" and not Path("times.json").exists()


def test_a_stage_is_not_charged_for_the_one_before(project: Path) -> None:
    group = Group(["slow", "after"], frozenset())
    SideBySide([group], 2, StageTimes(Path("times.json"))).run()
    seconds = files.read_json(Path("times.json"))
    assert seconds["slow"] >= 4 > seconds["after"]


def test_an_interrupt_ends_all_at_once(project: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None and b"sleeps" in process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)  # nothing is left behind for that
    printed = process.communicate(timeout=60)
    assert printed == (b"", b"error: interrupted; run it again to go on\n")
    assert process.returncode == 130
    assert children and not any(is_alive(child.pid) for child in children)
    assert not Path("w").exists()


def test_a_group_begins_when_those_that_it_waits_for_are_done(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("y.begun").touch()
    side_by_side("x", then="y").run()
    assert capsys.readouterr().out.splitlines() == ["[1 of 2] x", "[2 of 2] y"]
    assert Path("x").stat().st_mtime_ns < Path("y").stat().st_mtime_ns


def test_a_stage_that_fails_ends_the_others(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="^fails has failed"):
        side_by_side("sleeps", "fails", then="x").run()
    assert "fails: no room" in capsys.readouterr().out
    assert not Path("w").exists() and not Path("x.begun").exists()
