"""A driver that runs contained leaves nothing behind, however it or its stage ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.orchestration import contained
from tests.helpers import contained_work
from tests.helpers.processes import is_alive, until

ROOT = Path(__file__).resolve().parents[3]
STAGE = """
import sys
from pathlib import Path
from pipeline.orchestration import contained
from pipeline.utils.entry_point import entry
from tests.helpers import contained_work
entry(lambda: contained.run(contained_work.wait, log=Path("log"), ended_early="early"))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(work: Callable[[], None], limit: float | None = None) -> None:
    contained.run(work, log=Path("log"), ended_early="ended early", limit=limit)


def daemons() -> list[int]:
    return [int(line) for line in Path("pids").read_text().split()]


def test_success_leaves_neither_processes_nor_noise(capfd: pytest.CaptureFixture[str]) -> None:
    run(contained_work.finish)
    assert len(daemons()) == 2 and not any(map(is_alive, daemons()))
    assert capfd.readouterr() == ("", "") and not Path("log").exists()


@pytest.mark.parametrize(
    ("work", "line"),
    [
        (contained_work.refuse, "params.yaml: x"),
        (contained_work.lack, "/nowhere/x: no such file or directory"),
        (contained_work.crash, "ended early"),
    ],
)
def test_failures_are_one_line(
    work: Callable[[], None], line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=f"^{line}"):
        run(work)
    assert not any(map(is_alive, daemons() if Path("pids").exists() else []))
    assert capfd.readouterr() == ("", "")


def test_a_bug_brings_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a bug") as caught:
        run(contained_work.fail)
    assert "contained_work.py" in str(caught.value)


def test_the_noise_of_a_crash_is_in_the_log() -> None:
    with pytest.raises(UserError):
        run(contained_work.crash)
    assert "stack of C++" in Path("log").read_text()


def test_a_limit_ends_it() -> None:
    with pytest.raises(UserError, match="^ended early$"):
        run(contained_work.wait, limit=1.0)
    assert not any(map(is_alive, daemons()))


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_nothing_outlives_a_killed_stage(number: int, status: int) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    stage = subprocess.Popen(
        [sys.executable, "-c", STAGE], env=environment, stderr=subprocess.PIPE, text=True
    )
    until(lambda: Path("ready").exists())
    stage.send_signal(number)
    assert stage.stderr is not None
    lines = stage.communicate()[1]
    assert stage.returncode == status
    assert lines.count("\n") == (0 if number == signal.SIGKILL else 1)
    until(lambda: not any(map(is_alive, daemons())))
