"""Sample order: a pure function of (seed, step), the same for any number of workers."""

from collections import Counter

import numpy as np
import pytest

from pipeline.data.loading.sampler import LaneOrder, OrderParams
from pipeline.errors import UserError
from pipeline.utils import seeds

SIZES = [7 + n % 5 for n in range(150)]


def order(lanes=64, window=2, batch=128, seed=3, sizes=SIZES):
    return LaneOrder(sizes, OrderParams(lanes, window, batch), seed, "pairs")


@pytest.mark.parametrize("world", [1, 2, 4, 64])
def test_any_number_of_workers_makes_the_same_global_batches(world):
    reference = order()
    workers = [order() for _ in range(world)]
    for step in (0, 1, 2, 50, 51, 9):
        joined = [unit for rank in range(world) for unit in workers[rank].part(step, rank, world)]
        assert joined == reference.part(step, 0, 1)


def test_skipping_ahead_gives_what_walking_gives():
    walker = order()
    walked = [walker.part(step, 0, 1) for step in range(40)]
    assert order().part(39, 0, 1) == walked[39]


def test_a_step_after_many_epochs_is_the_same_whatever_was_asked_before():
    walker, late = order(lanes=4, window=3, batch=8), 8 * sum(SIZES) // 8
    for step in range(0, late, 37):
        walker.part(step)
    assert walker.part(late) == order(lanes=4, window=3, batch=8).part(late)


def test_generators_are_those_of_philox_with_the_key():
    ours, plain = (
        seeds.generator("a", 3),
        np.random.Generator(np.random.Philox(key=seeds.key("a", 3))),
    )
    assert (
        np.array_equal(ours.permutation(99), plain.permutation(99))
        and ours.normal() == plain.normal()
    )


def test_an_epoch_shows_every_unit_about_once_and_two_epochs_differ():
    sizes = [10] * 64
    whole = order(lanes=4, window=4, batch=16, sizes=sizes)
    epoch = sum(sizes) // 16
    first, second = (
        [
            (unit.group, unit.unit)
            for step in range(start, start + epoch)
            for unit in whole.part(step, 0, 1)
        ]
        for start in (0, epoch)
    )
    assert set(Counter(first).values()) == {1} and len(first) == sum(sizes)
    assert set(first) == set(second) and first != second


def test_positions_number_the_samples_without_gaps():
    whole = order()
    positions = [unit.position for step in range(3) for unit in whole.part(step, 0, 1)]
    assert positions == list(range(3 * 128))


def test_a_group_that_an_epoch_holds_twice_is_shown_twice():
    whole = order(lanes=1, window=2, batch=5, sizes=[5, 5])
    assert Counter(unit.group for step in range(20) for unit in whole.part(step, 0, 1)) == {
        0: 50,
        1: 50,
    }


def test_a_worker_touches_only_the_groups_of_its_own_lanes():
    shares = [
        {unit.group for step in range(2) for unit in order(window=1).part(step, rank, 4)}
        for rank in range(4)
    ]
    assert all(len(share) <= 2 * 64 / 4 for share in shares)


def test_seeds_change_the_order():
    assert order(seed=1).part(0, 0, 1) != order(seed=2).part(0, 0, 1)


@pytest.mark.parametrize(
    ("kwargs", "world", "words"),
    [
        ({"sizes": [5] * 63}, 1, "63 row groups are too few for 64 lanes"),
        ({"batch": 100}, 1, "batch 100 is not a multiple of lanes 64"),
        ({}, 3, "64 lanes cannot be shared by 3 micro-batches"),
    ],
)
def test_what_does_not_divide_is_said_in_one_line(kwargs, world, words):
    with pytest.raises(UserError, match=words):
        order(**kwargs).part(0, 0, world)
