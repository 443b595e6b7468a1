"""What is masked: how much, where, and with what (VL-BEiT §2.3; figures measured on BEiT's own
generator)."""

import numpy as np
import pytest

from pipeline.data.transforms.masking import _place_block, block_mask, text_mask
from pipeline.utils.seeds import generator

MASK, VOCAB, SPECIAL = 4, 1000, 5


@pytest.fixture(scope="module")
def masks():
    return np.stack([block_mask(14, 75, 16, generator("masks", n)) for n in range(4000)]).reshape(
        -1, 14, 14
    )


def test_every_mask_has_exactly_75_patches(masks):
    assert (masks.sum(axis=(1, 2)) == 75).all()


def test_probability_map_is_that_of_block_wise_masking(masks):
    share = masks.mean(axis=0)
    corners = share[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
    edges = np.mean(
        [share[0, 6:8].mean(), share[-1, 6:8].mean(), share[6:8, 0].mean(), share[6:8, -1].mean()]
    )
    assert corners == pytest.approx(0.044, abs=0.006)
    assert edges == pytest.approx(0.196, abs=0.02)
    assert share[6:8, 6:8].mean() == pytest.approx(0.713, abs=0.02)


def test_masks_are_blocks_not_specks(masks):
    neighbours = (masks[:, 1:] & masks[:, :-1]).sum() / masks[:, :-1].sum()
    assert neighbours > 0.7  # a uniformly random mask of this size has 0.38


def test_first_blocks_have_the_areas_and_aspects_of_the_recipe():
    """Against the recipe's draws all at once: areas from 16 to 75, aspects log-uniform within 0.3
    and its inverse."""
    sizes = []
    for n in range(4000):
        mask = np.zeros((14, 14), dtype=bool)
        assert _place_block(mask, 75, 16, generator("block", n))
        sizes.append((mask.any(axis=1).sum(), mask.any(axis=0).sum()))
        assert mask.sum() == np.prod(sizes[-1]), "a full rectangle"
    rng = np.random.default_rng(0)
    area, aspect = (
        rng.uniform(16, 75, 200_000),
        np.exp(rng.uniform(np.log(0.3), -np.log(0.3), 200_000)),
    )
    drawn = np.stack([np.round(np.sqrt(area * aspect)), np.round(np.sqrt(area / aspect))], axis=1)
    drawn = drawn[(drawn < 14).all(axis=1) & (drawn.prod(axis=1) <= 75)]
    found = np.array(sizes)
    assert found.max() == drawn.max() == 13 and found.min() == drawn.min() == 2
    for measure in (
        lambda x: x.prod(axis=1),
        lambda x: x[:, 0],
        lambda x: x[:, 1],
        lambda x: np.log(x[:, 0] / x[:, 1]) ** 2,
    ):
        assert measure(found).mean() == pytest.approx(measure(drawn).mean(), rel=0.04)


def test_blocks_never_mask_more_than_is_left():
    mask = np.zeros((14, 14), dtype=bool)
    mask[:7] = True
    for n in range(200):
        more = mask.copy()
        if _place_block(more, 9, 16, generator("left", n)):
            assert 0 < more.sum() - mask.sum() <= 9 and more[:7].all()


@pytest.mark.parametrize(("grid", "count", "block"), [(6, 14, 4), (8, 25, 6), (2, 4, 1)])
def test_small_grids_have_the_asked_count_too(grid, count, block):
    assert all(
        block_mask(grid, count, block, generator(grid, n)).sum() == count for n in range(200)
    )


def sentence(length=40):
    return np.concatenate([[0], generator("ids").integers(SPECIAL, VOCAB, size=length), [2, 1, 1]])


@pytest.mark.parametrize(
    ("ratio", "length", "count"), [(0.15, 40, 6), (0.5, 40, 20), (0.15, 2, 1), (0.5, 11, 6)]
)
def test_a_fixed_share_of_the_words_is_masked(ratio, length, count):
    ids = sentence(length)
    corrupted, masked = text_mask(
        ids, ratio, mask_id=MASK, ordinary=range(SPECIAL, VOCAB), rng=generator(1)
    )
    assert masked.sum() == count
    assert not masked[ids < SPECIAL].any(), "special tokens are never masked"
    assert (corrupted[~masked] == ids[~masked]).all()


def test_of_the_masked_80_percent_become_mask_10_random_10_stay():
    ids, fates = sentence(), []
    for n in range(2000):
        corrupted, masked = text_mask(
            ids, 0.5, mask_id=MASK, ordinary=range(SPECIAL, VOCAB), rng=generator(n)
        )
        assert (corrupted[masked & (corrupted != MASK)] >= SPECIAL).all(), (
            "special ids are never drawn"
        )
        fates.append(
            [(corrupted[masked] == MASK).mean(), (corrupted[masked] == ids[masked]).mean()]
        )
    mask_share, unchanged_share = np.mean(fates, axis=0)
    assert mask_share == pytest.approx(0.8, abs=0.01)
    assert unchanged_share == pytest.approx(0.1, abs=0.01)


def test_a_text_without_words_is_left_alone():
    corrupted, masked = text_mask(
        np.array([0, 2]), 0.5, mask_id=MASK, ordinary=range(5, VOCAB), rng=generator(0)
    )
    assert corrupted.tolist() == [0, 2] and not masked.any()
