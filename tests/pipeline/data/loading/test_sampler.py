"""Sample order: a pure function of (seed, step), the same for any number of workers."""

from collections import Counter

import numpy as np
import pytest

from pipeline.data.loading.sampler import MicroBatch, OrderParams, SampleIndex, StreamSampler
from pipeline.errors import UserError
from pipeline.utils import seeds

SIZES = [7 + n % 5 for n in range(150)]


def sampler(streams=64, shuffle_block=2, batch=128, seed=3, sizes=SIZES):
    return StreamSampler(sizes, OrderParams(streams, shuffle_block, batch), seed, "pairs")


def walk(source: StreamSampler, steps: range) -> list[SampleIndex]:
    """The samples of whole steps."""
    return [index for step in steps for index in source.samples(MicroBatch(step))]


@pytest.mark.parametrize("world_size", [1, 2, 4, 64])
def test_any_number_of_workers_makes_the_same_global_batches(world_size):
    reference = sampler()
    workers = [sampler() for _ in range(world_size)]
    for step in (0, 1, 2, 50, 51, 9):
        joined = []
        for rank, worker in enumerate(workers):
            joined += worker.samples(MicroBatch(step, rank, world_size))
        assert joined == reference.samples(MicroBatch(step, 0, 1))


def test_skipping_ahead_gives_what_walking_gives():
    walker = sampler()
    walked = [walker.samples(MicroBatch(step, 0, 1)) for step in range(40)]
    assert sampler().samples(MicroBatch(39, 0, 1)) == walked[39]


def test_a_step_after_many_epochs_is_the_same_whatever_was_asked_before():
    walker, late = sampler(streams=4, shuffle_block=3, batch=8), 8 * sum(SIZES) // 8
    for step in range(0, late, 37):
        walker.samples(MicroBatch(step))
    fresh = sampler(streams=4, shuffle_block=3, batch=8)
    assert walker.samples(MicroBatch(late)) == fresh.samples(MicroBatch(late))


def test_generators_are_those_of_philox_with_the_key():
    ours = seeds.generator("a", 3)
    plain = np.random.Generator(np.random.Philox(key=seeds.key("a", 3)))
    assert np.array_equal(ours.permutation(99), plain.permutation(99))
    assert ours.normal() == plain.normal()


def test_an_epoch_shows_every_sample_about_once_and_two_epochs_differ():
    sizes = [10] * 64
    source = sampler(streams=4, shuffle_block=4, batch=16, sizes=sizes)
    steps = sum(sizes) // 16
    first = [(index.group, index.offset) for index in walk(source, range(steps))]
    second = [(index.group, index.offset) for index in walk(source, range(steps, 2 * steps))]
    assert set(Counter(first).values()) == {1} and len(first) == sum(sizes)
    assert set(first) == set(second) and first != second


def test_positions_number_the_samples_without_gaps():
    positions = [index.position for index in walk(sampler(), range(3))]
    assert positions == list(range(3 * 128))


def test_a_group_that_an_epoch_passes_through_twice_is_shown_twice():
    source = sampler(streams=1, shuffle_block=2, batch=5, sizes=[5, 5])
    assert Counter(index.group for index in walk(source, range(20))) == {0: 50, 1: 50}


def test_a_worker_touches_only_the_groups_of_its_own_streams():
    source = sampler(shuffle_block=1)
    for rank in range(4):
        groups = set()
        for step in range(2):
            groups |= {index.group for index in source.samples(MicroBatch(step, rank, 4))}
        assert len(groups) <= 2 * 64 / 4


def test_seeds_change_the_order():
    assert sampler(seed=1).samples(MicroBatch(0, 0, 1)) != sampler(seed=2).samples(
        MicroBatch(0, 0, 1)
    )


@pytest.mark.parametrize(
    ("kwargs", "count", "words"),
    [
        ({"sizes": [5] * 63}, 1, "63 row groups are too few for 64 streams"),
        ({"batch": 100}, 1, "batch_size 100 is not a multiple of streams 64"),
        ({}, 3, "64 streams cannot be shared by 3 micro-batches"),
    ],
)
def test_what_does_not_divide_is_named_in_one_line(kwargs, count, words):
    with pytest.raises(UserError, match=words):
        sampler(**kwargs).samples(MicroBatch(0, 0, count))
