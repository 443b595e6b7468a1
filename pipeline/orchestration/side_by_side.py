"""`dvc repro` of several groups of stages at a time, with lines that say which stage they are of, how
many are to come, and how long they will take."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import chain

from pipeline.errors import UserError
from pipeline.orchestration.groups import Group
from pipeline.orchestration.stage_times import StageTimes
from pipeline.utils.progress import clock

_DVC = (sys.executable, "-m", "pipeline.orchestration.dvc_process")
_RUNNING = re.compile(r"Running stage '(.+)':")
_SKIPPED = re.compile(r"Stage '(.+)' (didn't change, skipping|is cached)")
# What DVC says of its own work, which the number of the stage replaces.
_OF_DVC = re.compile(
    r"> |(Generating|Updating) lock file|To (track|enable)|\tgit add |\tdvc config |Use `dvc push`"
    r"|Verifying |Data and pipelines are up to date"
)


class SideBySide:
    """Runs groups and then what is left, `last`, and counts their stages."""

    def __init__(
        self, groups: list[Group], at_a_time: int, times: StageTimes, last: Sequence[str] = ()
    ) -> None:
        self.groups, self.at_a_time, self.times = groups, at_a_time, times
        self._plan = [*groups, Group(list(last), frozenset(range(len(groups))))]
        self._to_come = set(chain.from_iterable(group.stages for group in self._plan))
        self.total = len(self._to_come)
        self._running: set[subprocess.Popen[str]] = set()
        self._failed: str | None = None  # the first stage that did, or an interrupt
        self._lock = threading.Lock()

    def run(self) -> None:
        """Run all groups, each when those that it waits for are done; a stage that fails ends the
        others.

        Raises:
            UserError: one has failed.
        """
        self._repro_all(self.groups, "--single-item")

    def finish(self) -> None:
        """A plain `dvc repro`, which runs what is left. Raises as `run`."""
        self._repro_all([Group([], frozenset())])

    def _repro_all(self, groups: Sequence[Group], *options: str) -> None:
        waiting, done = dict(enumerate(groups)), set[int]()
        running: dict[Future[None], int] = {}
        with ThreadPoolExecutor(self.at_a_time) as pool, self._ended_with_us():
            while waiting or running:
                ready = [index for index, group in waiting.items() if group.after <= done]
                for index in ready[: self.at_a_time - len(running)]:
                    arguments = [*options, *waiting.pop(index).stages]
                    running[pool.submit(self._repro, arguments)] = index
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    done.add(running.pop(future))
        if self._failed:
            raise UserError(f"{self._failed} has failed; the lines above say why")

    @contextmanager
    def _ended_with_us(self) -> Iterator[None]:
        """An interrupt ends all: each `dvc` has a process group, which the terminal does not
        reach."""
        try:
            yield
        except BaseException:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # those of the impatient, while all ends
            self._end_all("an interrupt")
            raise

    def _end_all(self, reason: str) -> None:
        """End all that run, and let no other begin, unless that has been done."""
        with self._lock:
            if self._failed:
                return
            self._failed = reason
            for process in self._running:
                with suppress(ProcessLookupError):  # it has just ended
                    os.killpg(process.pid, signal.SIGINT)

    def _repro(self, arguments: Sequence[str]) -> None:
        process = self._start(arguments)
        if process is None:
            return
        stage = None
        assert process.stdout is not None
        for line in map(str.rstrip, process.stdout):
            if match := _RUNNING.match(line) or _SKIPPED.match(line):
                self._end(stage)
                stage = match[1] if match.re is _RUNNING else None
                self._pass(match[1], runs=stage is not None)
            elif line and not _OF_DVC.match(line):
                self._print(f"{stage or 'dvc'}: {line}")
        status = process.wait()
        with self._lock:
            self._running.discard(process)
        if status:
            self._end_all(stage or "`dvc repro`")
        else:
            self._end(stage)

    def _start(self, arguments: Sequence[str]) -> subprocess.Popen[str] | None:
        """`dvc repro`; none where something has failed."""
        with self._lock:
            if self._failed:
                return None
            process = subprocess.Popen(
                [*_DVC, "--wait-for-lock", "repro", *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                process_group=0,
            )
            self._running.add(process)
        return process

    def _pass(self, stage: str, *, runs: bool) -> None:
        """A stage runs, which is announced, or has nothing to do."""
        with self._lock:
            self._to_come.discard(stage)
            if not runs:
                self.times.skip(stage)
                return
            self.times.begin(stage)
            left = self.times.left(self._plan, self.at_a_time)
            number = f"{self.total - len(self._to_come)} of {self.total}"
        self._print(f"[{number}{'' if left is None else f', {clock(left)} left'}] {stage}")

    def _end(self, stage: str | None) -> None:
        """A stage that was running, if any was, is done."""
        with self._lock:
            if stage is not None:
                self.times.end(stage)

    def _print(self, line: str) -> None:
        """Show a line, but not how what is being ended complains."""
        if not self._failed:
            print(line, flush=True)
