"""`dvc repro` of several groups of stages at a time, with lines that say which stage they are of."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from pipeline.errors import UserError
from pipeline.orchestration.rounds import Group, Round

_RUNNING = re.compile(r"Running stage '(.+)':")
# What DVC says of its own work, which the number of the stage replaces.
_OF_DVC = re.compile(
    r"> |(Generating|Updating) lock file|To (track|enable)|\tgit add |\tdvc config |Use `dvc push`"
    r"|Stage '.+' (didn't change, skipping|is cached)|Verifying |Data and pipelines are up to date"
)


class SideBySide:
    """Runs rounds of groups, and counts their stages."""

    def __init__(self, rounds: list[Round], at_a_time: int):
        self.rounds, self.at_a_time = rounds, at_a_time
        self.total = sum(len(group) for groups in rounds for group in groups)
        self._begun = 0
        self._running: set[subprocess.Popen[str]] = set()
        self._failed: str | None = None  # the first stage that did, or an interrupt
        self._lock = threading.Lock()

    def run(self) -> None:
        """Run all, round by round; a stage that fails ends the others.

        Raises:
            UserError: one has failed.
        """
        for groups in self.rounds:
            with ThreadPoolExecutor(self.at_a_time) as pool, self._ended_with_us():
                list(pool.map(self._repro, groups))
            if self._failed:
                raise UserError(f"{self._failed} has failed; the lines above say why")

    @contextmanager
    def _ended_with_us(self) -> Iterator[None]:
        """An interrupt ends all: each `dvc` has a process group, which the terminal does not
        reach."""
        try:
            yield
        except BaseException:
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

    def _repro(self, group: Group) -> None:
        with self._lock:
            if self._failed:
                return
            process = subprocess.Popen(
                ["dvc", "--wait-for-lock", "repro", "--single-item", *group],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                process_group=0,
            )
            self._running.add(process)
        stage = group[0]
        assert process.stdout is not None
        for line in process.stdout:
            stage = self._print(line.rstrip(), stage)
        status = process.wait()
        with self._lock:
            self._running.discard(process)
        if status:
            self._end_all(stage)

    def _print(self, line: str, stage: str) -> str:
        """Print a line of a group's `dvc`; the stage that the next one is of."""
        if match := _RUNNING.match(line):
            with self._lock:
                self._begun += 1
            print(f"[{self._begun} of {self.total}] {match[1]}", flush=True)
            return match[1]
        if line and not _OF_DVC.match(line):
            print(f"{stage}: {line}", flush=True)
        return stage
