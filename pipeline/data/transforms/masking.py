"""Masks for masked modeling: blocks of patches, and tokens of text (VL-BEiT §2.3). NumPy, one
sample at a time."""

import math

import numpy as np

MAX_ASPECT = 1 / 0.3
ATTEMPTS = 10


def block_mask(grid: int, count: int, min_block: int, rng: np.random.Generator) -> np.ndarray:
    """Block-wise mask of an image: bool [grid * grid], row-major, with exactly `count` True.

    Rectangles are placed as long as no more than `count` patches are masked (BEiT); the rest are
    single random patches (BEiTv2), so that every mask has the same size.
    """
    mask = np.zeros((grid, grid), dtype=bool)
    while (left := count - int(np.count_nonzero(mask))) > 0:
        if not _place_block(mask, left, min_block, rng):
            break
    flat = mask.reshape(-1)
    if (missing := count - int(np.count_nonzero(flat))) > 0:
        flat[rng.choice(np.flatnonzero(~flat), size=missing, replace=False)] = True
    return flat


def _place_block(mask: np.ndarray, left: int, min_block: int, rng: np.random.Generator) -> bool:
    """Mask one more rectangle with at most `left` patches that were not masked; False where every
    attempt fails."""
    grid, low, high = len(mask), min(min_block, left), max(min_block, left)
    # drawn at once: a call takes longer than a number
    for size, shape, down, across in rng.random((ATTEMPTS, 4)).tolist():
        area, aspect = low + (high - low) * size, MAX_ASPECT ** (2 * shape - 1)
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height >= grid or width >= grid:
            continue
        top, start = int(down * (grid - height + 1)), int(across * (grid - width + 1))
        block = mask[top : top + height, start : start + width]
        if 0 < block.size - np.count_nonzero(block) <= left:
            block[:] = True
            return True
    return False


def text_mask(
    ids: np.ndarray,
    ratio: float,
    *,
    mask_id: int,
    ordinary: range,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Corrupt a text as BERT does: of the masked tokens 80% become [MASK], 10% a random id, 10%
    stay.

    Args:
        ids: [length] token ids; those that are not `ordinary` are neither masked nor drawn.
        ratio: share of the other tokens to mask, at least one.

    Returns:
        The corrupted ids, int [length], and the masked tokens, bool [length].
    """
    candidates = np.flatnonzero((ids >= ordinary.start) & (ids < ordinary.stop))
    masked = np.zeros(len(ids), dtype=bool)
    if len(candidates) == 0:
        return ids.copy(), masked
    count = max(1, round(ratio * len(candidates)))
    positions = rng.choice(candidates, size=count, replace=False)
    masked[positions] = True
    corrupted = ids.copy()
    fate = rng.random(count)
    corrupted[positions[fate < 0.8]] = mask_id
    random = positions[(fate >= 0.8) & (fate < 0.9)]
    corrupted[random] = rng.integers(ordinary.start, ordinary.stop, size=len(random))
    return corrupted, masked
