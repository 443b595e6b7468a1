"""Random numbers as a pure function of what they are for: (seed, stream, position, ...).

No generator lives longer than one draw, so there is no state to save, and nothing depends on the
number of workers.
"""

import hashlib

import numpy as np
from numpy.random.bit_generator import ISeedSequence


def key(*parts: int | str) -> int:
    """A 128-bit number that differs for every tuple of parts."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def generator(*parts: int | str) -> np.random.Generator:
    """The random generator that belongs to these parts."""
    return np.random.Generator(np.random.Philox(_Key(key(*parts))))


class _Key(ISeedSequence):
    """A key of Philox. Given as `Philox(key=...)` it would be the same, but NumPy then asks the
    system for random numbers, too, and throws them away; that takes three times as long."""

    def __init__(self, number: int):
        self.number = number

    def generate_state(self, n_words: int, dtype: type = np.uint32) -> np.ndarray:
        return np.frombuffer(self.number.to_bytes(16, "little"), "<u8")
