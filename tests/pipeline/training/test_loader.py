"""Loader workers hand over batches, or one line on why they cannot."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipeline.errors import UserError
from pipeline.training import loader
from pipeline.utils.machine_errors import explain


class Batches:
    """A batch of its own number, or an error."""

    def __init__(self, work: Callable[[int], Any]):
        self.work = work

    def __getitem__(self, number: int) -> Any:
        return self.work(number)


def batch(number: int) -> dict[str, Any]:
    nested = (torch.full((2,), number), [torch.zeros(3)], "name")
    return {"x": torch.full((4,), float(number)), "nested": nested}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_arrive_in_order_and_whole(workers: int) -> None:
    for number, arrived in enumerate(loader.load(Batches(batch), iter(range(7)), workers)):
        assert arrived["x"].tolist() == [number] * 4
        numbers, zeros, name = arrived["nested"]
        assert (numbers.tolist(), zeros[0].tolist(), name) == ([number] * 2, [0.0] * 3, "name")
    assert number == 6


def refuse(number: int) -> None:
    raise UserError("data/x.parquet: not found")


def lack(number: int) -> None:
    os.stat("/nowhere/x")


@pytest.mark.parametrize("work", [refuse, lack])
@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_worker_is_one_line(work: Callable[[int], Any], workers: int) -> None:
    with pytest.raises((UserError, OSError)) as caught:
        list(loader.load(Batches(work), iter(range(3)), workers))
    line = str(explain(caught.value))
    assert line.startswith(("data/x.parquet: not found", "/nowhere/x: no such file")), line


def test_a_bug_in_a_worker_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError, match="Original Traceback"):
        list(loader.load(Batches(lambda number: 1 // number), iter(range(3)), 1))


def test_a_killed_worker_is_one_line() -> None:
    work = Batches(lambda number: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(RuntimeError) as caught:
        list(loader.load(work, iter(range(3)), 1))
    assert str(explain(caught.value)).startswith("a loader worker was killed")


def test_shared_memory_that_is_full_is_one_line_and_not_a_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def share(*arguments: Any, **options: Any) -> None:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1_2_0>: "
            "No space left on device (28)"
        )

    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", share)
    monkeypatch.setattr(loader, "TIMEOUT", 20.0)
    with pytest.raises(UserError, match="^/dev/shm is too small for what loader workers hand over"):
        list(loader.load(Batches(batch), iter(range(3)), 1))


def test_a_worker_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "TIMEOUT", 0.5)
    work = Batches(lambda number: signal.pause())
    with pytest.raises(RuntimeError) as caught:
        list(loader.load(work, iter(range(3)), 1))
    assert str(explain(caught.value)).startswith("loader workers have made no batch")
