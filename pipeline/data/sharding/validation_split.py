"""A share of the training records is set aside for validation, by a hash of the key; of few records
none may fall into it, and then the one with the smallest hash does."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.data.sharding import external_shuffle
from pipeline.utils import files

_PURPOSE = "holdout"  # random numbers depend on how it is spelled


def is_chosen(key: str, val_fraction: float) -> bool:
    """Whether the training record of this key belongs to the share that becomes `val`."""
    return _share(key) < val_fraction


def ensure(runs: Sequence[Path], done_mark: Callable[[Path], Path]) -> None:
    """Move a training record to `val`, where nothing is in that split and there are others to train
    on.

    done_mark: the file that tells that a run is whole; without it, the run is made anew.
    """
    if "val" in external_shuffle.splits(runs):
        return
    runs_of: dict[str, list[Path]] = {}
    for run in runs:
        for key in external_shuffle.keys(run, "train"):
            runs_of.setdefault(key, []).append(run)
    if len(runs_of) < 2:
        return
    chosen = min(runs_of, key=_share)
    for run in dict.fromkeys(runs_of[chosen]):
        mark = done_mark(run)
        content = mark.read_bytes()
        mark.unlink()
        external_shuffle.move(run, chosen, "val")
        with files.replacing(mark) as temporary:
            temporary.write_bytes(content)


def _share(key: str) -> float:
    return external_shuffle.share(key, _PURPOSE)
