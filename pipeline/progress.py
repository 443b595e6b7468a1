"""How far a long piece of work has come, now and then in one line on the error stream."""

import sys
import time

_EVERY = 15.0  # seconds between two lines


class Progress:
    """Counts what is done of `total`. What an earlier run has done does not count for the rate."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total = name, total
        self._done = self._here = self._good = 0
        self._begun = self._said = time.monotonic()

    def add(self, good: bool, *, earlier: bool = False) -> None:
        """One more is done, well or not; `earlier` by a run before this one."""
        self._done += 1
        self._good += good
        self._here += not earlier
        if time.monotonic() - self._said >= _EVERY:
            self.say()

    def say(self) -> None:
        """The line."""
        self._said = time.monotonic()
        print(self.line(self._said - self._begun), file=sys.stderr, flush=True)

    def line(self, seconds: float) -> str:
        """So many seconds after the beginning."""
        rate = self._here / max(seconds, 1e-9)
        left = (self._total - self._done) / rate if rate else 0.0
        return (f"{self._name}: {self._done:,} of {self._total:,} ({self._done / max(self._total, 1):.1%}), "
                f"ok {self._good / max(self._done, 1):.1%}, {rate:,.0f}/s, {_clock(left)} left")


def _clock(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"
