"""How long a run of stages takes, by what each took when it last ran on this machine.

DVC's outputs hold no times, so that they are the same in every run; these stand in
`.work/times-SCALE.json`.
"""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.errors import UserError
from pipeline.orchestration.groups import Group
from pipeline.utils import files

# seconds of work after which its pace counts as much as that of the last run
_TRUSTED = 60.0


class StageTimes:
    """Seconds of each stage, read from a file and kept there as stages end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seconds = _read(path)
        self._expected = dict(self._seconds)  # of the runs before this one
        self._begun: dict[str, float] = {}
        self._ended: set[str] = set()
        self._took = self._was_expected = _TRUSTED

    def knows(self, stages: Iterable[str]) -> bool:
        """Whether all these stages have run here before."""
        return self._expected.keys() >= set(stages)

    def begin(self, stage: str) -> None:
        """A stage begins to run."""
        self._begun[stage] = time.monotonic()

    def skip(self, stage: str) -> None:
        """A stage has nothing to do."""
        self._ended.add(stage)

    def end(self, stage: str) -> None:
        """A stage that has begun is done; keep its time."""
        seconds = time.monotonic() - self._begun.pop(stage)
        self._ended.add(stage)
        if stage in self._expected:
            self._took += seconds
            self._was_expected += self._expected[stage]
        self._seconds[stage] = round(seconds, 1)
        self.path.parent.mkdir(exist_ok=True)
        files.write_json(self.path, self._seconds)

    def left(self, groups: Sequence[Group], at_a_time: int) -> float | None:
        """Seconds until all is done, at this run's pace: those of the longest chain of groups, or of
        all with nothing waiting. None while a stage that is to come has never run here."""
        total, ends = 0.0, list[float]()  # ends of the groups, if none waits for a free place
        for group in groups:
            rest = [self._rest(stage) for stage in group.stages]
            if None in rest:
                return None
            seconds = sum(filter(None, rest))
            total += seconds
            ends.append(max((ends[index] for index in group.after), default=0.0) + seconds)
        return max(total / at_a_time, *ends, 0.0) * self._took / self._was_expected

    def _rest(self, stage: str) -> float | None:
        """Seconds that the last run would still need for a stage."""
        if stage in self._ended:
            return 0.0
        expected = self._expected.get(stage)
        if expected is None or stage not in self._begun:
            return expected
        return max(expected - (time.monotonic() - self._begun[stage]), 0.0)


def _read(path: Path) -> dict[str, float]:
    """What was kept; nothing where that is damaged, since it is but an estimate."""
    try:
        content = files.read_json(path) if path.exists() else {}
    except UserError:
        return {}
    return content if isinstance(content, dict) else {}
