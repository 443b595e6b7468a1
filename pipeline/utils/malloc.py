"""How this process gets its memory."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def keep_freed_memory() -> None:
    """Let freed blocks stay with this process, where the C library is glibc.

    As a rule a large block goes back to the kernel when it is freed, and the next tensor waits for
    the kernel to zero its pages: on CPUs that is more than half the time of a GELU, a norm or a sum
    of activations.
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)  # never
