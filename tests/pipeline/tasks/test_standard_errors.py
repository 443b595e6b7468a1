"""Standard errors of shares of right answers, whose clusters are drawn as a whole."""

import numpy as np
import pytest
import torch

from pipeline.tasks.standard_errors import clustered


def test_of_independent_answers_it_is_the_binomial_one():
    right = torch.arange(50) < 15
    assert clustered(right, torch.arange(50)) == pytest.approx((0.3 * 0.7 / 50) ** 0.5)


def test_answers_that_always_agree_count_once():
    right = torch.arange(50) < 15
    five = clustered(right.repeat_interleave(5), torch.arange(50).repeat_interleave(5))
    assert five == pytest.approx((0.3 * 0.7 / 50) ** 0.5)


def test_it_is_the_spread_over_test_sets_of_other_clusters():
    rng = np.random.default_rng(0)
    images, captions = 100, 5

    def test_set():
        hard = rng.beta(0.5, 1.0, size=images).repeat(captions)
        return torch.tensor(rng.random(images * captions) < hard)

    clusters = torch.arange(images).repeat_interleave(captions)
    sets = [test_set() for _ in range(400)]
    spread = np.std([right.double().mean().item() for right in sets])
    estimated = np.mean([clustered(right, clusters) for right in sets])
    assert estimated == pytest.approx(spread, rel=0.1)
    assert (0.33 * 0.67 / 500) ** 0.5 < 0.8 * spread  # as if captions were independent
