"""Sample order as a pure function of (seed, step).

Row groups are permuted anew in every epoch and dealt, like cards, to a fixed number of streams. A
stream is endless and shuffles the samples within blocks of its row groups. Step t takes the same
number of samples from every stream. Micro-batches share out the streams and workers the
micro-batches, so 1, 2 or 64 workers train on the same global batches, a worker reads only the row
groups of its own streams, and skipping ahead reads no data at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np

from pipeline.config.limits import Count, Interval
from pipeline.errors import UserError
from pipeline.utils import seeds


@dataclass(frozen=True)
class OrderParams:
    """How the samples of a data set are shuffled."""

    streams: Count  # the largest number of micro-batches that a step can be cut into
    # row groups that a stream shuffles at a time
    shuffle_block: Annotated[int, Interval(1, 100_000)]
    batch_size: Annotated[int, Interval(1, 1_000_000)]  # samples of a global batch


@dataclass(frozen=True)
class SampleIndex:
    """Where a sample of a step is."""

    group: int  # index of its row group
    offset: int  # in the group: of a row, or of a list element such as one of a row's captions
    position: int  # in the endless sequence of samples: step * batch + index in the global batch


@dataclass(frozen=True)
class MicroBatch:
    """Which samples of a step's global batch a data set is asked for."""

    step: int
    index: int = 0  # of this micro-batch
    count: int = 1  # micro-batches of equal size in the global batch


def check_order(params: OrderParams, groups: int, name: str) -> None:
    """Raises UserError where the batch is no multiple of the number of streams, or there are fewer
    row groups than streams."""
    if params.batch_size % params.streams:
        raise UserError(
            f"{name}: batch_size {params.batch_size} is not a multiple of streams {params.streams}"
        )
    if groups < params.streams:
        raise UserError(
            f"{name}: {groups} row groups are too few for {params.streams} streams; lower streams, "
            "or rows_per_group of the shards"
        )


def check_sharing(params: OrderParams, count: int, name: str) -> None:
    """Raises UserError where the streams cannot be shared evenly by `count` micro-batches."""
    if params.streams % count:
        raise UserError(
            f"{name}: {params.streams} streams cannot be shared by {count} micro-batches; use a "
            "multiple"
        )


class StreamSampler:
    """The order of the samples of a data set.

    Args:
        group_sizes: number of samples of each row group of an epoch. A group that an epoch passes
            through twice is listed twice.
        name: of the data set, for its own random numbers and for messages.

    Raises:
        UserError: the batch is no multiple of the number of streams, or there are fewer row groups
            than streams.
    """

    def __init__(self, group_sizes: Sequence[int], params: OrderParams, seed: int, name: str):
        check_order(params, len(group_sizes), name)
        self.group_sizes, self.params, self.seed, self.name = list(group_sizes), params, seed, name
        # samples of each stream up to the end of each of its blocks: [streams, blocks known so far]
        self._block_ends = np.zeros((params.streams, 0), np.int64)
        self._sizes = np.asarray(self.group_sizes)
        self._permutation = lru_cache(maxsize=4)(self._epoch_permutation)
        self._shuffled = lru_cache(maxsize=2 * params.streams)(self._shuffled_block)

    def samples(self, micro_batch: MicroBatch) -> list[SampleIndex]:
        """Where the samples of a micro-batch are, in order.

        Raises:
            UserError: the streams cannot be shared out evenly.
        """
        step, index, count = micro_batch.step, micro_batch.index, micro_batch.count
        streams, share = self.params.streams, self.params.batch_size // self.params.streams
        check_sharing(self.params, count, self.name)
        samples = []
        for stream in range(index * streams // count, (index + 1) * streams // count):
            first = step * self.params.batch_size + stream * share
            for offset in range(share):
                samples.append(self._take(stream, step * share + offset, first + offset))
        return samples

    def _take(self, stream: int, number: int, position: int) -> SampleIndex:
        """Sample `number` of a stream, from 0."""
        while not self._block_ends.shape[1] or self._block_ends[stream, -1] <= number:
            self._look_ahead()
        ends = self._block_ends[stream]
        block = int(np.searchsorted(ends, number, side="right"))
        start = int(ends[block - 1]) if block else 0
        group, offset = self._shuffled(stream, block)[number - start]
        return SampleIndex(int(group), int(offset), position)

    def _look_ahead(self) -> None:
        """Find the ends of twice as many blocks of all streams at once, for a run that begins at a
        late step."""
        streams, block_size, groups = (
            self.params.streams,
            self.params.shuffle_block,
            len(self._sizes),
        )
        known = self._block_ends.shape[1]
        first = known * block_size * streams
        end = max(2 * known, 16) * block_size * streams
        epochs = range(first // groups, -(-end // groups))
        sizes = np.concatenate([self._sizes[self._permutation(epoch)] for epoch in epochs])
        sizes = sizes[first % groups :][: end - first]
        block_sizes = sizes.reshape(-1, block_size, streams).sum(axis=1).T
        before = self._block_ends[:, -1:] if known else np.zeros((streams, 1), np.int64)
        new_ends = before + block_sizes.cumsum(axis=1)
        self._block_ends = np.concatenate([self._block_ends, new_ends], axis=1)

    def _block_groups(self, stream: int, block: int) -> list[int]:
        """The row groups of a stream's block."""
        streams, block_size, groups = (
            self.params.streams,
            self.params.shuffle_block,
            len(self._sizes),
        )
        first = stream + streams * block * block_size
        dealt = range(first, first + streams * block_size, streams)
        return [int(self._permutation(card // groups)[card % groups]) for card in dealt]

    def _epoch_permutation(self, epoch: int) -> np.ndarray:
        random = seeds.generator(self.seed, self.name, "groups", epoch)
        return random.permutation(len(self.group_sizes))

    def _shuffled_block(self, stream: int, block: int) -> np.ndarray:
        """All (group, offset) of a block, shuffled: int64 [samples, 2]."""
        parts = []
        for group in self._block_groups(stream, block):
            offsets = np.arange(self.group_sizes[group])
            parts.append(np.stack([np.full(len(offsets), group), offsets], axis=1))
        random = seeds.generator(self.seed, self.name, "rows", stream, block)
        return random.permutation(np.concatenate(parts), axis=0)
