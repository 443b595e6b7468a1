"""Faults on purpose, few and always the same, such as real files have: the pipeline must reject
them and go on."""

TRUNCATED = 17  # index of a training image whose JPEG is cut off
MISSING = 29  # index of a training record whose image is not in the archive
NO_CAPTION = 31  # index of a training record one of whose captions is empty


def truncated(jpeg: bytes) -> bytes:
    """The first half of an image file: it can be opened, and decoding fails."""
    return jpeg[: len(jpeg) // 2]
