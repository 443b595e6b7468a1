"""A progress line of a download: bytes, rate, time left."""

import sys
import time
from collections import deque

_UNITS = ("B", "kB", "MB", "GB", "TB")
_WINDOW = 30  # lines over which the rate is averaged


class Progress:
    """sizes: bytes of each file, which may be estimates; done: bytes that are there at the
    start."""

    def __init__(self, label: str, sizes: dict[str, int], done: int) -> None:
        self.label, self.sizes, self.done = label, sizes, done
        self._terminal = sys.stderr.isatty()
        self.every = 1.0 if self._terminal else 60.0  # seconds from one line to the next
        self._history = deque([(time.monotonic(), done)], maxlen=_WINDOW)

    def advance(self, size: int) -> None:
        """Count `size` more bytes; negative where some were discarded."""
        self.done += size

    def set_size(self, name: str, size: int) -> None:
        """Replace the size of a file by the true one, in bytes."""
        self.sizes[name] = size

    def show(self) -> None:
        """Write the line to stderr; on a terminal it replaces the last one."""
        self._history.append((time.monotonic(), self.done))
        print(
            f"\r{self.line():<100}" if self._terminal else self.line(),
            end="" if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        """Leave the last line as it is, and go on below it."""
        if self._terminal:
            print(file=sys.stderr)

    def line(self) -> str:
        """Such as `coco: 1.2 of 20.4 GB, 85.0 MB/s, 3 min 46 s left`."""
        (start, before), (now, after) = self._history[0], self._history[-1]
        rate = max(after - before, 0) / max(now - start, 1e-9)
        total = sum(self.sizes.values())
        text = f"{self.label}: {size(self.done)} of {size(total)}, {size(rate)}/s"
        if rate and total > self.done:
            text += f", {duration((total - self.done) / rate)} left"
        return text


def size(count: float) -> str:
    """Bytes with a decimal unit, such as `1.2 GB`."""
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
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count) or "0 s"
