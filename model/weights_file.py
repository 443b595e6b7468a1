"""Tensors in a safetensors file: what it has before anything is read, and whether they are
numbers."""

from collections.abc import Mapping
from errno import ENOENT
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

FLOATING = ("F64", "F32", "F16", "BF16")
INTEGER = ("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")


class Header(NamedTuple):
    """What a file says of a tensor."""

    dtype: str  # as safetensors names it
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, Header]:
    """What a file has, by name; no tensor is read.

    Raises:
        FileNotFoundError: there is no such file, or it is a folder or a device.
        ValueError: it is no safetensors file, or not whole. One line.
    """
    _check_file(path)
    headers = {}
    try:
        with safe_open(path, "pt") as file:
            for name in sorted(file.keys()):
                part = file.get_slice(name)
                headers[name] = Header(part.get_dtype(), tuple(part.get_shape()))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a whole safetensors file: {one_line(error)}") from None
    return headers


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name. Raises as `read_header`."""
    _check_file(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(f"{path}: not a whole safetensors file: {one_line(error)}") from None


def check_fits(path: Path, headers: Mapping[str, Header], state: Mapping[str, Tensor]) -> None:
    """Compare a file with the tensors, also without numbers, that it is to fill: names, shapes and
    whether they are floating.

    Raises:
        ValueError: they differ. One line with the first difference.
    """
    missing = [name for name in state if name not in headers]
    extra = [name for name in headers if name not in state]
    for names, what in ((missing, "missing"), (extra, "too many")):
        if names:
            raise ValueError(_unfit(path, f"{len(names)} tensors are {what}, such as {names[0]}"))
    for name, tensor in state.items():
        dtype, shape = headers[name]
        if shape != tuple(tensor.shape):
            expected = list(tensor.shape)
            raise ValueError(_unfit(path, f"{name} is {list(shape)} instead of {expected}"))
        if dtype not in (FLOATING if tensor.is_floating_point() else INTEGER):
            raise ValueError(_unfit(path, f"{name} is of type {dtype}"))


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError, one line with the first such tensor, where a number is NaN or infinite.

    The smallest and the largest number tell it in a twentieth of the time of `torch.isfinite`.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        low, high = tensor.aminmax()  # NaN if any number is
        if not (low.isfinite() and high.isfinite()):
            bad = int((~tensor.isfinite()).sum())
            raise ValueError(
                f"{path}: {bad:,} of the {tensor.numel():,} numbers of {name} are NaN or infinite; "
                "such a model has no answers"
            )


def one_line(error: Exception) -> str:
    """Kind and message of an error, at most some 200 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(ENOENT, "no weights", str(path))


def _unfit(path: Path, difference: str) -> str:
    return f"{path}: not the weights of config.json's model: {difference}"
