"""A progress line for the fetching of a list: URLs, share with an image, rate, time left."""

import time

from pipeline.utils.progress import Progress, duration


class UrlProgress(Progress):
    """`total` URLs; `done` counts those of this run, which alone make the rate."""

    def __init__(self, label: str, total: int) -> None:
        super().__init__(label, {}, 0)
        self.total = total
        self.good = self.earlier = 0

    def add(self, good: bool, *, earlier: bool = False) -> None:
        """One more URL has a status, `ok` or not; `earlier`: from a run before this one. Shows the
        line now and then."""
        self.good += good
        self.earlier += earlier
        self.done += not earlier
        if time.monotonic() - self._history[-1][0] >= self.every:
            self.show()

    def line(self) -> str:
        """Such as `cc3m: 120,000 of 3,334,173, 71.2 % ok, 412/s, 2 h 10 min left`."""
        (start, before), (now, after) = self._history[0], self._history[-1]
        rate, here = (after - before) / max(now - start, 1e-9), self.done + self.earlier
        share = 100 * self.good / max(here, 1)
        text = f"{self.label}: {here:,} of {self.total:,}, {share:.1f} % ok, {rate:,.0f}/s"
        if rate and self.total > here:
            text += f", {duration((self.total - here) / rate)} left"
        return text
