"""Vectors of a whole test set, computed in the background: a search takes those that there are."""

import atexit
import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, chain, islice
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pipeline.data.loading.row_reader import RowReader
from pipeline.data.shards import parquet
from pipeline.demo.examples import Split
from pipeline.inference.predictor import Predictor
from pipeline.tasks.kept_results import KeptResults

BATCH = 16  # images; Ctrl-C waits for one batch
GROUPS = 4  # row groups of images in memory
PATIENCE = 10.0  # seconds that a search waits for what is not computed yet

Rows = list[dict[str, Any]]


class Encoded(NamedTuple):
    """The first images of a test set, all or as many as have vectors yet, and their captions."""

    digests: list[bytes]  # SHA-256 of each image
    captions: list[str]
    image_of: list[int]  # of each caption
    image_features: Tensor  # unit vectors [images, embed_dim]
    text_features: Tensor  # [captions, embed_dim]


class _Batch(NamedTuple):
    digests: list[bytes]
    captions: list[list[str]]  # of each image
    image_features: Tensor
    text_features: Tensor


class Encoder:
    """Computes the vectors of a split in a thread of its own. Images stay in their shards.

    Args:
        folder: where vectors are kept if all of them take more than a minute, for the next start to
            go on with.
    """

    def __init__(self, predictor: Predictor, split: Split, folder: Path):
        self.predictor, self.split = predictor, split
        groups = parquet.row_groups(split.shards, split.name)
        ends = list(accumulate(group.rows for group in groups))
        self.total = ends[-1] if ends else 0
        self._starts = [0, *ends]
        self._reader = RowReader(groups, GROUPS, ("image",))
        self._keep = KeptResults(folder).map_of(f"vectors of {split.data}", self.total)
        self._batches: list[_Batch] = []
        self._error: Exception | None = None
        self._stopping = Event()
        self._thread = Thread(target=self._run, daemon=True)
        atexit.register(self.stop)  # torch must not run while Python ends
        self._thread.start()

    def so_far(self) -> Encoded:
        """What is computed: all of it, if that takes a few seconds. Raises what stopped it."""
        self._thread.join(PATIENCE)
        while self._thread.is_alive() and not self._batches:
            self._thread.join(1)
        if self._error:
            raise self._error
        return _joined(list(self._batches))

    def image(self, number: int) -> bytes:
        """The encoded image of this number."""
        group = bisect_right(self._starts, number) - 1
        row, _ = self._reader.get(group, number - self._starts[group])
        return row["image"]

    def stop(self) -> None:
        """End the thread, after the batch that it is at."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._compute()
        except Exception as error:  # noqa: BLE001  raised where somebody searches
            self._error = error
        atexit.unregister(self.stop)

    def _compute(self) -> None:
        for rows, features in self._keep(self._encode, self._rows()):
            digests = [hashlib.sha256(row["image"]).digest() for row in rows]
            captions = [row["captions"] for row in rows]
            self._batches.append(_Batch(digests, captions, *features))
            if self._stopping.is_set():
                return

    def _rows(self) -> Iterator[Rows]:
        rows = parquet.read_rows(self.split.shards, self.split.name, ("image", "captions"))
        while batch := list(islice(rows, BATCH)):
            yield batch

    def _encode(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Vectors of images and of their captions."""
        images = self.predictor.image_features([row["image"] for row in rows])
        captions = list(chain.from_iterable(row["captions"] for row in rows))
        return images.cpu(), self.predictor.text_features(captions).cpu()


def _joined(batches: list[_Batch]) -> Encoded:
    digests = list(chain.from_iterable(batch.digests for batch in batches))
    of_images = list(chain.from_iterable(batch.captions for batch in batches))
    image_of: list[int] = []
    for number, captions in enumerate(of_images):
        image_of += [number] * len(captions)
    return Encoded(
        digests,
        list(chain.from_iterable(of_images)),
        image_of,
        torch.cat([batch.image_features for batch in batches]),
        torch.cat([batch.text_features for batch in batches]),
    )
