"""Sample order as a pure function of (seed, step).

Row groups are permuted anew in every epoch and dealt, like cards, to a fixed number of lanes. A
lane is an endless stream that shuffles within a window of its row groups. Step t takes the same
number of units from every lane. The parts of a step share the lanes out among themselves and
workers the parts, so 1, 2 or 64 workers train on the same global batches, a worker reads only the
row groups of its own lanes, and skipping ahead reads no data at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pipeline.errors import UserError
from pipeline.utils import seeds


@dataclass(frozen=True)
class OrderParams:
    """How a stream is shuffled and dealt."""

    lanes: int  # the largest number of parts that a step can be cut into
    window: int  # row groups that a lane shuffles at a time
    batch: int  # units of a global batch


@dataclass(frozen=True)
class Unit:
    """One sample of a step."""

    group: int  # index into the stream's row groups
    unit: int  # index within the group: a row, or a (picture, caption) pair
    position: (
        int  # place in the endless sequence of samples: step * batch + row of the global batch
    )


class Part(NamedTuple):
    """What a data set is asked for: some rows of a step's global batch."""

    step: int
    index: int = 0  # of the part
    count: int = 1  # equal parts that the batch is cut into


class LaneOrder:
    """The order of one stream.

    Args:
        units: number of units of each row group of an epoch. A group that an epoch holds twice
        stands there twice. name: of the stream, for its own random numbers and for messages.
    """

    def __init__(self, units: Sequence[int], params: OrderParams, seed: int, name: str):
        if params.batch % params.lanes:
            raise UserError(
                f"{name}: batch {params.batch} is not a multiple of lanes {params.lanes}"
            )
        if len(units) < params.lanes:
            raise UserError(
                f"{name}: {len(units)} row groups are too few for {params.lanes} lanes; "
                "lower lanes, or rows_per_group of the shards"
            )
        self.units, self.params, self.seed, self.name = list(units), params, seed, name
        self._ends = np.zeros(
            (params.lanes, 0), np.int64
        )  # units of each lane up to the end of each of its blocks
        self._epoch_units = np.asarray(self.units)
        self._permutation = lru_cache(maxsize=4)(self._epoch_permutation)
        self._shuffled = lru_cache(maxsize=2 * params.lanes)(self._block_order)

    def part(self, step: int, index: int = 0, count: int = 1) -> list[Unit]:
        """The rows of part `index` of `count` of a step's global batch, in order.

        Raises:
            UserError: the lanes cannot be shared out evenly.
        """
        lanes, share = self.params.lanes, self.params.batch // self.params.lanes
        if lanes % count:
            raise UserError(
                f"{self.name}: {lanes} lanes cannot be shared by {count} micro-batches; use a multiple"
            )
        own = range(index * lanes // count, (index + 1) * lanes // count)
        return [
            self._take(lane, step * share + k, step * self.params.batch + lane * share + k)
            for lane in own
            for k in range(share)
        ]

    def _take(self, lane: int, index: int, position: int) -> Unit:
        """Unit number `index` of a lane."""
        while not self._ends.shape[1] or self._ends[lane, -1] <= index:
            self._look_ahead()
        ends = self._ends[lane]
        block = int(np.searchsorted(ends, index, side="right"))
        start = int(ends[block - 1]) if block else 0
        group, unit = self._shuffled(lane, block)[index - start]
        return Unit(int(group), int(unit), position)

    def _look_ahead(self) -> None:
        """Know where twice as many blocks end: all lanes at once, for a run that begins at a late
        step."""
        lanes, window, count = self.params.lanes, self.params.window, len(self.units)
        known = self._ends.shape[1]
        first, end = (blocks * window * lanes for blocks in (known, max(2 * known, 16)))
        units = np.concatenate(
            [
                self._epoch_units[self._permutation(epoch)]
                for epoch in range(first // count, -(-end // count))
            ]
        )
        places = units[first % count :][: end - first]
        sizes = places.reshape(-1, window, lanes).sum(axis=1).T
        before = self._ends[:, -1:] if known else np.zeros((lanes, 1), np.int64)
        self._ends = np.concatenate([self._ends, before + sizes.cumsum(axis=1)], axis=1)

    def _block(self, lane: int, block: int) -> list[int]:
        """The row groups of a lane's window number `block`."""
        lanes, window, count = self.params.lanes, self.params.window, len(self.units)
        places = range(lane + lanes * block * window, lane + lanes * (block + 1) * window, lanes)
        return [int(self._permutation(place // count)[place % count]) for place in places]

    def _epoch_permutation(self, epoch: int) -> np.ndarray:
        return seeds.generator(self.seed, self.name, "groups", epoch).permutation(len(self.units))

    def _block_order(self, lane: int, block: int) -> np.ndarray:
        """All (group, unit) of a window, shuffled: int64 [units, 2]."""
        pairs = np.concatenate(
            [
                np.stack([np.full(self.units[group], group), np.arange(self.units[group])], axis=1)
                for group in self._block(lane, block)
            ]
        )
        return seeds.generator(self.seed, self.name, "rows", lane, block).permutation(pairs, axis=0)
