"""One line that tells how far the fetching of a list is: URLs, share with a picture, rate, time
left."""

import time

from pipeline.utils.progress import Progress, duration


class UrlProgress(Progress):
    """`total` URLs; `done` counts those of this run, which alone make the rate."""

    def __init__(self, label: str, total: int) -> None:
        super().__init__(label, {}, 0)
        self.total = total
        self.good = self.earlier = 0

    def add(self, good: bool, *, earlier: bool = False) -> None:
        """One more has a status, `ok` or not; `earlier`: by a run before this one. Now and then the
        line is shown."""
        self.good += good
        self.earlier += earlier
        self.done += not earlier
        if time.monotonic() - self._seen[-1][0] >= self.every:
            self.show()

    def line(self) -> str:
        """Such as `cc3m: 120,000 of 3,334,173, 71.2 % ok, 412/s, 2 h 10 min left`."""
        (start, before), (now, after) = self._seen[0], self._seen[-1]
        rate, here = (after - before) / max(now - start, 1e-9), self.done + self.earlier
        left = (
            f", {duration((self.total - here) / rate)} left" if rate and self.total > here else ""
        )
        return (
            f"{self.label}: {here:,} of {self.total:,}, {100 * self.good / max(here, 1):.1f} % ok, {rate:,.0f}/s"
            f"{left}"
        )
