"""No number that is NaN or infinite decides anything: comparisons with NaN are false, and a count of
what is larger than NaN is 0, the best of ranks."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from model import weights_file
from pipeline.errors import UserError


class NonFiniteError(UserError):
    """A model's numbers are NaN or infinite."""


def checked(values: Tensor, what: str) -> Tensor:
    """The values as they are. `what` names them: "logits of the classes".

    Raises:
        NonFiniteError: some are NaN or infinite.
    """
    finite = values.isfinite()
    if not finite.all():
        bad = int((~finite).sum())
        raise NonFiniteError(
            f"{what}: {bad:,} of {values.numel():,} numbers are NaN or infinite, which no score can "
            "be made of; the model's weights are of no use, train it again at a lower lr or in fp32"
        )
    return values


def check_weights(path: Path, model: nn.Module) -> None:
    """Raises NonFiniteError if a number of a model's weights, which came out of the file `path`, is
    NaN or infinite."""
    check_tensors(path, model.state_dict())


def check_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises NonFiniteError if a number of tensors, which came out of the file `path`, is NaN or
    infinite."""
    try:
        weights_file.check_finite(path, tensors)
    except ValueError as error:
        raise NonFiniteError(str(error)) from None


def check_tree(tree: Any, what: str) -> None:
    """Look through dicts, sequences and tensors of results.

    Raises:
        NonFiniteError: a number is NaN or infinite. It is named by its keys.
    """
    if isinstance(tree, dict):
        for name, value in tree.items():
            check_tree(value, f"{what}: {name}")
    elif isinstance(tree, list | tuple):
        for value in tree:
            check_tree(value, what)
    elif isinstance(tree, Tensor):
        checked(tree, what)
    elif isinstance(tree, float) and not math.isfinite(tree):
        raise NonFiniteError(
            f"{what} is {tree}; the model's weights or its data are of no use, and training at a "
            "lower lr or in fp32 may help"
        )
