"""Batches of a task in the order of its steps, from loader workers or from this process."""

import multiprocessing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_convert

from pipeline.data.loading.sampler import MicroBatch
from pipeline.errors import UserError
from pipeline.utils import machine_errors

TIMEOUT = 1800.0  # seconds that training waits for a batch of a loader worker


def load(batches: Any, order: Iterator[MicroBatch], workers: int) -> Iterator[Any]:
    """`batches[micro_batch]` for each of `order`, prepared ahead by that many processes.

    Raises:
        UserError: as raised by `batches`; or the machine has no room for workers or batches.
        RuntimeError: a worker was killed, or made no batch for `TIMEOUT` seconds.
    """
    if workers:
        multiprocessing.Lock()  # with /dev/shm full this raises in place of a half-made loader
    loader = DataLoader(
        _Guarded(batches) if workers else batches,  # type: ignore[arg-type]
        batch_size=None,
        sampler=order,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        timeout=TIMEOUT if workers else 0,
    )
    for batch in loader:
        if isinstance(batch, _Failure):
            raise UserError(batch.line)
        yield batch


@dataclass(frozen=True)
class _Failure:
    """An error that a worker sends in place of a batch: the loader would wrap its traceback into
    its message."""

    line: str


class _Guarded:
    """Batches in a loader worker, in shared memory already when they are handed to the loader.

    The loader puts them there in a thread of its own, which loses a batch that does not fit, and
    training would wait for it for ever.
    """

    def __init__(self, batches: Any):
        self.batches = batches

    def __getitem__(self, micro_batch: MicroBatch) -> Any:
        try:
            batch = default_convert(self.batches[micro_batch])
            for tensor in _tensors(batch):
                tensor.share_memory_()
            return batch
        except Exception as error:
            line = machine_errors.explain(error)
            if line is None:
                raise
            return _Failure(line)


def _tensors(batch: Any) -> Iterator[Tensor]:
    """All tensors of a nested batch."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping | tuple | list):
        for part in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _tensors(part)
