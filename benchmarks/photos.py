"""Images with a photograph's detail: how long a JPEG takes to decode depends on it."""

import io

import numpy as np
from PIL import Image


def photograph(seed: int, width: int = 640, height: int = 480, quality: int = 90) -> bytes:
    """A JPEG of noise with as much detail at every scale, like a photograph's; the usual one has
    110 kB."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for scale in (64, 32, 16, 8, 4, 2, 1):
        grain = rng.integers(0, 256, (height // scale + 1, width // scale + 1, 3), np.uint8)
        total += np.asarray(Image.fromarray(grain).resize((width, height)), float) * min(scale, 3)
    total = 255 * (total - total.min()) / (total.max() - total.min())
    Image.fromarray(total.astype(np.uint8)).save(buffer := io.BytesIO(), "JPEG", quality=quality)
    return buffer.getvalue()
