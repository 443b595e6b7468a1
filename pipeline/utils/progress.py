"""One line that tells how far a download is: bytes, rate, time left."""

import sys
import time
from collections import deque

_UNITS = ("B", "kB", "MB", "GB", "TB")
_WINDOW = 30  # looks at the clock that the rate is taken over


class Progress:
    """`sizes` of files in bytes, which may be estimates; `done` of them are here at the start."""

    def __init__(self, label: str, sizes: dict[str, int], done: int) -> None:
        self.label, self.sizes, self.done = label, sizes, done
        self._terminal = sys.stderr.isatty()
        self.every = 1.0 if self._terminal else 60.0  # seconds from one line to the next
        self._seen = deque([(time.monotonic(), done)], maxlen=_WINDOW)

    def move(self, size: int) -> None:
        """So many bytes more, or less where some were thrown away."""
        self.done += size

    def expect(self, name: str, size: int) -> None:
        """The true size of a file."""
        self.sizes[name] = size

    def show(self) -> None:
        """Write the line, over the last one on a terminal."""
        self._seen.append((time.monotonic(), self.done))
        print(
            f"\r{self.line():<100}" if self._terminal else self.line(),
            end="" if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        """Leave the last line."""
        if self._terminal:
            print(file=sys.stderr)

    def line(self) -> str:
        """Such as `coco: 1.2 of 20.4 GB, 85.0 MB/s, 3 min 46 s left`."""
        (start, before), (now, after) = self._seen[0], self._seen[-1]
        rate = max(after - before, 0) / max(now - start, 1e-9)
        total = sum(self.sizes.values())
        left = (
            f", {duration((total - self.done) / rate)} left" if rate and total > self.done else ""
        )
        return f"{self.label}: {size(self.done)} of {size(total)}, {size(rate)}/s{left}"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            break
        count /= 1000
    else:
        unit = _UNITS[-1]
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """The two largest units, such as `2 h 5 min`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    parts = [(days, "d"), (hour, "h"), (minute, "min"), (second, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"
