"""A function over batches: how validation in training runs it, and what an evaluation, which keeps
its results, puts in its place."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from torch import Tensor

B = TypeVar("B")
Outputs = tuple[Tensor, ...]  # of a batch, on the CPU; the first has one row per sample


class BatchMap(Protocol):
    """Runs a function over batches, in order."""

    def __call__(
        self, function: Callable[[B], Outputs], batches: Iterable[B]
    ) -> Iterator[tuple[B, Outputs]]:
        """Each batch with its results."""
        ...


# What runs a function over the batches of a part of an evaluation, by the part's name and its number
# of samples.
BatchMaps = Callable[[str, int], BatchMap]


def directly(function: Callable[[B], Outputs], batches: Iterable[B]) -> Iterator[tuple[B, Outputs]]:
    """A `BatchMap` that just runs the function."""
    for batch in batches:
        yield batch, function(batch)


def unkept(name: str, samples: int) -> BatchMap:
    """`BatchMaps` that just run functions."""
    return directly
