"""Networks against references that sum in another order."""

from collections.abc import Iterable

import torch
from torch import Tensor


def assert_near(ours: Tensor, reference: Iterable[Tensor], error: float = 2e-5) -> None:
    """Within a share of the size of the reference's numbers, however small some of them are.

    reference: a tensor of the same shape, or the tensors along its first dimension.
    """
    expected = torch.stack(list(reference)).double()
    assert ours.shape == expected.shape
    difference = (ours.detach().double() - expected).abs().max()
    assert difference < error * expected.square().mean().sqrt()
