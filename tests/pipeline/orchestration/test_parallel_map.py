"""A pool's errors arrive in one line, and its workers end with the stage."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.orchestration import parallel_map
from pipeline.utils.machine_errors import explain
from tests.helpers import pool_work
from tests.helpers.processes import is_alive, until

ROOT = Path(__file__).resolve().parents[3]
STAGE = """
from pipeline.orchestration import parallel_map
from pipeline.utils.entry_point import entry
from tests.helpers import pool_work
if __name__ == "__main__":
    entry(lambda: parallel_map.run(pool_work.wait, [(0,), (1,)], 2))
"""


@pytest.mark.parametrize(
    ("work", "line"),
    [(pool_work.refuse, "record 0"), (pool_work.lack, "/nowhere/0: no such file or directory")],
)
def test_an_error_of_a_worker_is_one_line(work: Callable[[int], None], line: str) -> None:
    with pytest.raises(Exception) as caught:
        parallel_map.run(work, [(0,)], 2)
    assert str(explain(caught.value)).startswith(line)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_workers_end_with_their_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stage.py").write_text(STAGE)
    stage = subprocess.Popen(
        [sys.executable, "stage.py"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    notes = [Path("pid-0"), Path("pid-1")]
    until(lambda: all(note.exists() and note.read_text() for note in notes))
    workers = [int(note.read_text()) for note in notes]
    # as a terminal sends it: to all processes
    os.killpg(stage.pid, number) if number == signal.SIGINT else stage.send_signal(number)
    assert stage.stderr is not None
    lines = stage.communicate()[1]
    assert stage.returncode == status
    if number != signal.SIGKILL:  # after which Python itself speaks of semaphores
        assert lines.count("\n") == 1 and lines.startswith("error: ")
    until(lambda: not any(map(is_alive, workers)))


@pytest.mark.parametrize("workers", [1, 2])
def test_each_call_is_reported_when_it_is_done(workers: int) -> None:
    done: list[tuple[int]] = []
    parallel_map.run(abs, [(1,), (2,), (3,)], workers, done=done.append)
    assert sorted(done) == [(1,), (2,), (3,)]
