"""A sharding run that is killed goes on where it was, and ends with the bytes of one that was left
alone."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import tiny
from tests.pipeline.data.sharding.test_build import contents, synsets

PARAMS = """scale: small
preset: small
pool: {workers: %d}
download: {common: {mirrors: [], official: false}, imagenet22k: {origin: local, path: raw}}
shard:
  common: {rows_per_group: 2, groups_per_file: 3}
  imagenet22k: {val_fraction: 0.2, max_side: 8, min_coverage: 0}
"""
# Kills itself when it is about to move its `moment`-th finished file into place, or has just done
# so.
STAGE = """
import os, signal, sys
from pipeline.data.sharding import record_reader
from pipeline.tracking import client as tracking
from stages import shard
record_reader.PIECE, tracking.installed = 4000, lambda: False
moment, replace, done = int(sys.argv[1]), os.replace, 0
def moved(source, target):
    global done
    done += 1
    if done == moment and moment % 2:
        replace(source, target)
    if done == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = moved
if __name__ == "__main__":
    shard.main("imagenet22k")
    print(done)
"""


def project(folder: Path, workers: int = 1) -> Path:
    synsets(folder / "raw", 12, classes=5)
    (folder / "params.yaml").write_text(PARAMS % workers)
    (folder / "stage.py").write_text(STAGE)
    return folder


def started(folder: Path, moment: int) -> subprocess.Popen:
    command = [sys.executable, "stage.py", str(moment)]
    variables = os.environ | {"PYTHONPATH": str(tiny.ROOT)}
    variables.pop("DVC_ROOT", None)
    return subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True)


def test_kills_at_random_moments_leave_no_trace(tmp_path):
    """Every file is moved into place once: a kill costs no more than the piece that was at work."""
    alone = started(project(tmp_path / "alone"), 0)
    files = int(alone.communicate()[0].split()[-1])
    killed, draw, moments = project(tmp_path / "killed"), random.Random(7), []
    while True:
        moments.append(draw.randint(1, 9))
        process = started(killed, moments[-1])
        output = process.communicate()[0]
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    assert len(moments) > 5
    assert sum(moments[:-1]) + int(output.split()[-1]) <= files + 4 * len(moments)
    assert contents(killed / "data") == contents(tmp_path / "alone/data")


@pytest.mark.parametrize("seed", [1, 2])
def test_workers_of_a_killed_driver_end_and_the_next_one_goes_on(tmp_path, seed):
    alone = started(project(tmp_path / "alone"), 0)
    killed = project(tmp_path / "killed", workers=2)
    process = started(killed, 0)
    alone.communicate()
    runs = next_files(killed / ".work", 1 + random.Random(seed).randrange(12))
    process.send_signal(signal.SIGKILL)
    process.communicate()  # returns when the workers have closed their end, too
    assert runs
    again = started(killed, 0)
    again.communicate()
    assert again.returncode == 0
    assert contents(killed / "data") == contents(tmp_path / "alone/data")


def next_files(folder: Path, count: int) -> list[Path]:
    """Wait for so many finished files of a run at work."""
    for _ in range(3000):
        found = [path for path in folder.rglob("*.index") if not path.name.startswith(".")]
        found += [path for path in folder.rglob("*.parquet") if not path.name.startswith(".")]
        if len(found) >= count:
            return found
        time.sleep(0.01)
    raise AssertionError("the run made no progress in 30 s")
