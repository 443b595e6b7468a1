"""Files of `torch.save` that carry a checksum in their names.

One rename makes such a file and its checksum appear together, and whoever notes its name notes the
content.
"""

from pathlib import Path
from typing import Any

import torch

from pipeline.errors import UserError
from pipeline.utils import files

_DIGITS = 16  # of SHA-256 in hexadecimal: it is damage that is found, not forgery


def save(value: Any, folder: Path, stem: str) -> Path:
    """Write `<stem>-<checksum>.pt` in place of any `<stem>-*.pt`, and return its path."""
    unnamed = folder / f"{stem}.pt"
    with files.replacing(unnamed) as temporary:
        torch.save(value, temporary)
        digest = files.sha256(temporary)[:_DIGITS]
    path = folder / f"{stem}-{digest}.pt"
    unnamed.replace(path)
    for other in folder.glob(f"{stem}-*.pt"):
        if other != path:
            other.unlink()
    return path


def load(path: Path, device: torch.device | str = "cpu") -> Any:
    """The content of a file, once it is known to be whole.

    Raises:
        UserError: the file is missing or damaged.
    """
    check(path)
    return torch.load(path, map_location=device, weights_only=True)


def check(path: Path) -> None:
    """Raises UserError where the content does not fit the checksum in the name."""
    try:
        digest = files.sha256(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if path.stem.rpartition("-")[2] != digest[:_DIGITS]:
        raise UserError(f"{path}: damaged, its checksum differs")
