"""A download that is killed goes on where it was: the same files in the end, none of them fetched
twice."""

import multiprocessing
import random
import signal
from pathlib import Path

from tests.helpers import killed_download, misbehaving, official
from tests.pipeline.data.sharding.test_build import contents

MOMENTS = 12  # of a run, before or at which it is killed; a whole one has a hundred and more


def test_kills_at_random_moments_leave_no_trace(tmp_path):
    source = "coco"
    official.publish(source, tmp_path / "offered")
    spawn = multiprocessing.get_context("forkserver")
    spawn.set_forkserver_preload(["tests.helpers.killed_download"])
    draw, kills = random.Random(source), 0

    def run(project: Path, moment: int) -> int:
        process = spawn.Process(
            target=killed_download.run,
            args=(project, source, tmp_path / "offered/lists", server.address, moment),
        )
        process.start()
        process.join()
        return process.exitcode

    with misbehaving.serve(tmp_path / "offered") as server:
        assert run(tmp_path / "alone", 0) == 0
        server.log.clear()
        finished: dict[
            str, int
        ] = {}  # name, and how many requests there were when it was found whole
        while (status := run(tmp_path / "killed", draw.randint(1, MOMENTS))) != 0:
            assert status == -signal.SIGKILL
            kills += 1
            for path in (tmp_path / "killed/.work/downloads").glob("*/*"):
                if path.name == path.parent.name:
                    finished.setdefault(path.name, len(server.log))
        asked = [path.rpartition("/")[2] for path, _, _ in server.log]
    assert kills >= 10 and finished
    assert contents(tmp_path / "killed/raw") == contents(tmp_path / "alone/raw")
    assert all(name not in asked[count:] for name, count in finished.items())
    assert all(path.stat().st_nlink == 2 for path in (tmp_path / "killed/raw" / source).iterdir())
    for path in {path for path, _, _ in server.log}:  # parts are gone on with
        starts = [start for other, start, _ in server.log if other == path]
        assert starts == sorted(starts)
    assert any(start for _, start, _ in server.log)
