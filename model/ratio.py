"""A loss that is not yet averaged."""

from typing import NamedTuple

from torch import Tensor


class Ratio(NamedTuple):
    """The sum over a loss's terms, and how many terms there are (scalars).

    The caller divides by the count of the whole global batch, so a loss does not depend on how its batch is split.
    """

    total: Tensor
    count: Tensor
