"""Random numbers as a pure function of what they are for: (seed, stream, position, ...).

No generator lives longer than one draw, so there is no state to save, and nothing depends on the number of workers.
"""

import hashlib

import numpy as np


def key(*parts: int | str) -> int:
    """A 128-bit number that differs for every tuple of parts."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def generator(*parts: int | str) -> np.random.Generator:
    """The random generator that belongs to these parts."""
    return np.random.Generator(np.random.Philox(key=key(*parts)))
