"""Lines that say how far a stage is: how much is done of how much, the rate, the time left.

On a terminal there is one a second, which replaces the last one; in a log one a minute. So a stage
that takes less says nothing.
"""

import sys
import time
from collections import deque
from typing import Self

LOG_EVERY, TERMINAL_EVERY = 60.0, 1.0  # seconds from one line to the next
_UNITS = ("B", "kB", "MB", "GB", "TB")
_WINDOW = 30  # lines over which the rate is averaged
_FEW = 10  # a second: of fewer the rate has a decimal
_DAY = 24 * 3600  # seconds


class Progress:
    """A line such as `coco: 12,000 of 82,783 images, 210/s, 5:36 left`.

    Use as a context, after which the terminal goes on below the line.

    Args:
        label: what is worked on.
        total: of all that is counted; None where that is unknown.
        unit: of what is counted, in the plural.
    """

    def __init__(self, label: str, total: int | None, unit: str = "", done: int = 0) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, done
        self._skipped = done  # done before, which makes no rate
        self._terminal = sys.stderr.isatty()
        self.every = TERMINAL_EVERY if self._terminal else LOG_EVERY
        self._history = deque([(time.monotonic(), 0)], maxlen=_WINDOW)
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def advance(self, count: int) -> None:
        """Count what has been done, negative where some was discarded; write a line where one is
        due."""
        self.done += count
        if time.monotonic() - self._history[-1][0] >= self.every:
            self._show()

    def skip(self, count: int) -> None:
        """Count what an earlier attempt has done."""
        self.done += count
        self._skipped += count
        if len(self._history) == 1:  # what was done earlier is often read first
            self._history[0] = time.monotonic(), self._history[0][1]

    def end(self) -> None:
        """Where there were lines, write how it ended; a terminal goes on below it."""
        if self._shown and self._worked() != self._history[-1][1]:
            self._show()
        if self._shown and self._terminal:
            print(file=sys.stderr)

    def line(self) -> str:
        """How far it is, as of the last line that was written."""
        (start, before), (now, after) = self._history[0], self._history[-1]
        rate = max(after - before, 0) / max(now - start, 1e-9)
        parts = [*self.facts(), f"{self.rate(rate)}/s"]
        if rate and self.total is not None and self.total > self.done:
            parts.append(f"{clock((self.total - self.done) / rate)} left")
        return f"{self.label}: {', '.join(parts)}"

    def facts(self) -> list[str]:
        """What the line says before the rate."""
        of_total = "" if self.total is None else f" of {self.total:,}"
        return [f"{self.done:,}{of_total} {self.unit}".rstrip()]

    def rate(self, rate: float) -> str:
        """What is done in a second."""
        return f"{rate:,.0f}" if rate >= _FEW else f"{rate:.1f}"

    def _worked(self) -> int:
        return self.done - self._skipped

    def _show(self) -> None:
        self._shown = True
        self._history.append((time.monotonic(), self._worked()))
        print(
            f"\r{self.line():<100}" if self._terminal else self.line(),
            end="" if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )


class ByteProgress(Progress):
    """The line of a download, such as `coco: 1.2 GB of 20.4 GB, 85.0 MB/s, 3:46 left`.

    sizes: bytes of each file, which may be estimates; done: bytes that are there at the start.
    """

    def __init__(self, label: str, sizes: dict[str, int], done: int) -> None:
        super().__init__(label, sum(sizes.values()), done=done)
        self.sizes = sizes

    def set_size(self, name: str, count: int) -> None:
        """Replace the size of a file by the true one, in bytes."""
        self.sizes[name] = count
        self.total = sum(self.sizes.values())

    def facts(self) -> list[str]:
        """Bytes that are here, of all."""
        return [f"{size(self.done)} of {size(self.total or 0)}"]

    def rate(self, rate: float) -> str:
        """Bytes a second."""
        return size(rate)


def size(count: float) -> str:
    """Bytes with a decimal unit, such as `1.2 GB`."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            break
        count /= 1000
    else:
        unit = _UNITS[-1]
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def clock(seconds: float) -> str:
    """The time that is left, such as `1:23`, `2:05:10` or `4 d 2:05:10`."""
    days, rest = divmod(round(seconds), _DAY)
    minutes, second = divmod(rest, 60)
    hours, minute = divmod(minutes, 60)
    if days:
        return f"{days} d {hours}:{minute:02}:{second:02}"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def duration(seconds: float) -> str:
    """An estimate, as `make plan` gives it: the two largest units, such as `2 h 5 min`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    parts = [(days, "d"), (hour, "h"), (minute, "min"), (second, "s")]
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"
