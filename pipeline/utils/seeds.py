"""Keyed random numbers: a pure function of what they are for, such as (seed, stream, position).

Every use has a generator of its own, so there is no state to save, and nothing depends on the
number of workers.
"""

import hashlib
from typing import Any, cast

import numpy as np
from numpy.random.bit_generator import ISeedSequence


def key(*parts: int | str) -> int:
    """A 128-bit number that differs for every tuple of parts."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def generator(*parts: int | str) -> np.random.Generator:
    """The random generator of these parts."""
    # Philox takes any ISeedSequence; NumPy's type hints name the class SeedSequence alone
    seed = cast(np.random.SeedSequence, _PhiloxKey(key(*parts)))
    return np.random.Generator(np.random.Philox(seed))


class _PhiloxKey(ISeedSequence):
    """A key of Philox. `Philox(key=...)` would give the same numbers, but NumPy then also asks the
    operating system for random numbers that it does not use; that takes three times as long."""

    def __init__(self, number: int):
        self.number = number

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        return np.frombuffer(self.number.to_bytes(16, "little"), "<u8")
