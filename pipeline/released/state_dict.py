"""Tensors of released files as weights of models of this project: reading, renaming, refusing.

A family's module knows which of our models a file is, what its tensors are called and how some are
laid out otherwise. What is left over, missing or of another shape is refused by the file's name
for it, before anything is made of it: a part of a model would stay untrained without a word.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from model.checkpoint import Pretrained
from model.meta import on_meta, undrawn
from pipeline.errors import UserError
from pipeline.training.curve_logger import log
from pipeline.utils import finite, safe_checkpoint

# Keys that the tensors of a file may be under.
WRAPPERS = ("state_dict", "model", "module")
Shape = tuple[int, ...]
# (in our name, in theirs): parts of dotted names that stand for each other
Pairs = Sequence[tuple[str, str]]
Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class ReleasedFile:
    """A file's tensors, by its own names, and what else was found in it."""

    path: Path
    tensors: dict[str, Tensor]  # floating ones in float32, whatever they were
    wrapper: str | None  # the key that they were under; None: the file is the dict itself
    dtypes: tuple[str, ...]  # of the floating tensors, as saved: ("float16",)
    beside: dict[str, Any]  # what else the file has, such as "epoch", or "meta" of segmentation

    def describe(self) -> str:
        """One line for the log: where the tensors were, how many, of which types."""
        numbers = sum(tensor.numel() for tensor in self.tensors.values())
        where = f"under `{self.wrapper}`" if self.wrapper else "without a key"
        beside = f"; beside them {', '.join(sorted(self.beside))[:200]}" if self.beside else ""
        return (
            f"{self.path}: {len(self.tensors)} tensors {where}, {numbers:,} numbers of "
            f"{' and '.join(self.dtypes)}{beside}"
        )


def read(path: Path) -> ReleasedFile:
    """A file of `torch.save` or safetensors; no code in it is run. What was found is logged.

    The tensors are under the first of `WRAPPERS` that exists; without any, the file is the dict
    itself. Names lose a prefix that all of them have and that training code puts there (`module.`).

    Raises:
        UserError: no such file, damaged, or without tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    content = safe_checkpoint.read(path)
    wrapper = next((key for key in WRAPPERS if isinstance(content, dict) and key in content), None)
    inner = content if wrapper is None else content[wrapper]
    tensors = safe_checkpoint.tensors_of(path, inner)
    floating = [tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()]
    dtypes = sorted({str(dtype).removeprefix("torch.") for dtype in floating})
    beside = {} if wrapper is None else {key: content[key] for key in content if key != wrapper}
    widened = {name: _float32(tensor) for name, tensor in tensors.items()}
    file = ReleasedFile(path, widened, wrapper, tuple(dtypes), beside)
    log(file.describe())
    return file


def _float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor


def their_name(name: str, pairs: Pairs) -> str:
    """A tensor of ours by the released file's name: every part in `pairs` is replaced, in their
    order. A part is matched between dots."""
    for ours, theirs in pairs:
        name = re.sub(rf"(?<![^.]){re.escape(ours)}(?![^.])", theirs, name)
    return name


def shapes_of(build: Callable[[], Model]) -> dict[str, Shape]:
    """The tensors of a model by our names; nothing is allocated."""
    state = on_meta(build).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def take(
    file: ReleasedFile, expected: Mapping[str, Shape], dropped: Iterable[str], kind: str
) -> dict[str, Tensor]:
    """The tensors of a file whose names and shapes must be exactly `expected`.

    dropped: patterns (`*`) of names that a file may also have, and that are left out.
    kind: what it was taken for, for messages: "VLMo's coco file for 384 pixels".

    Raises:
        UserError: some are missing, left over, of another shape, no floating numbers, or not
            finite. One line that names the first.
    """
    patterns = list(dropped)
    missing = [name for name in expected if name not in file.tensors]
    extra = []
    for name in file.tensors:
        if name not in expected and not any(fnmatchcase(name, each) for each in patterns):
            extra.append(name)
    hint = f"is it {kind}?"
    if missing:
        instead = f" ({extra[0]} is too many)" if extra else ""
        raise UserError(
            f"{file.path}: {len(missing)} of {len(expected)} tensors are missing, such as "
            f"{missing[0]}{instead}; {hint}"
        )
    if extra:
        raise UserError(f"{file.path}: {len(extra)} tensors too many, such as {extra[0]}; {hint}")
    taken = {name: file.tensors[name] for name in expected}
    for name, tensor in taken.items():
        _check(file.path, name, tensor, expected[name], hint)
    finite.check_tensors(file.path, taken)
    return taken


def _check(path: Path, name: str, tensor: Tensor, shape: Shape, hint: str) -> None:
    if tuple(tensor.shape) != shape:
        raise UserError(f"{path}: {name} has shape {tuple(tensor.shape)}, not {shape}; {hint}")
    if not tensor.is_floating_point():
        raise UserError(f"{path}: {name} is of type {tensor.dtype}, not floating; {hint}")


def build(cls: Any, config: Any, state: Mapping[str, Tensor]) -> Any:
    """A model of ours with these weights, which must be all of its, in evaluation mode."""
    model: Pretrained = undrawn(lambda: cls(config))
    model.load_state_dict(dict(state))
    return model.eval()
