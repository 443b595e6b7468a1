"""Settings of the C library's allocator."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, where the C library is glibc.

    By default a large block returns to the kernel when it is freed, and the next tensor waits until
    the kernel has zeroed its pages: on CPUs that is more than half the time of a GELU, a norm or a
    sum of activations.
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)  # never
