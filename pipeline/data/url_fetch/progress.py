"""A progress line for the fetching of a list, with the share of URLs that gave an image."""

from pipeline.utils.progress import Progress


class UrlProgress(Progress):
    """Such as `cc3m: 120,000 of 3,334,173 URLs, 71.2 % ok, 412/s, 2:10:05 left`."""

    def __init__(self, label: str, total: int) -> None:
        super().__init__(label, total, "URLs")
        self.good = 0

    def add(self, good: bool, *, earlier: bool = False) -> None:
        """One more URL has a status, `ok` or not; `earlier`: from a run before this one."""
        self.good += good
        count = self.skip if earlier else self.advance
        count(1)

    def facts(self) -> list[str]:
        """How many have a status, and the share that is `ok`."""
        return [*super().facts(), f"{100 * self.good / max(self.done, 1):.1f} % ok"]
