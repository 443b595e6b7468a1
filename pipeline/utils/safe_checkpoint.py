"""Reading checkpoint files that others publish, without running any code in them."""

import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from torch import Tensor

from model import weights_file
from model.checkpoint import MALFORMED
from pipeline.errors import UserError
from pipeline.utils import torch_archive

# Under which training code saves a model's tensors, beside its optimizer and other things.
WRAPPERS = ("model", "state_dict", "module", "model_state_dict")
# What wrappers of models put before all names.
PREFIXES = ("module.", "model.", "_orig_mod.")
DAMAGED = (
    *MALFORMED,
    EOFError,
    OSError,
    pickle.PickleError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def read(path: Path) -> Any:
    """The content of a safetensors file, of a file of `torch.save` or of a TorchScript archive
    (OpenAI's CLIP), on the CPU. What it is, its first bytes tell; its name does not matter.

    Raises:
        UserError: it is none of these, damaged, or holds objects other than tensors and plain
            values.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(9)
        if start.startswith(b"PK\x03\x04"):
            return torch_archive.read(path)
        if start[8:] == b"{":
            return weights_file.read(path)
    except torch_archive.UnsafeError as error:
        raise UserError(f"{path}: not a checkpoint of tensors and plain values: {error}") from None
    except DAMAGED as error:
        raise UserError(f"{path}: not a checkpoint: {weights_file.one_line(error)}") from None
    hint = "a safetensors file, or one that torch 1.6 or later has saved"
    if start.startswith(b"\x80"):
        hint += "; load this one in torch and save it again"
    raise UserError(f"{path}: not a checkpoint: expected {hint}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a model by name, whether a file has them alone or under one of `WRAPPERS`;
    without the `PREFIXES` that all names have.

    Raises:
        UserError: as `read`, or there are no tensors by name.
    """
    state = read(path)
    for _ in WRAPPERS:
        inner = [state[name] for name in WRAPPERS if isinstance(state, dict) and name in state]
        if inner and isinstance(inner[0], dict):
            state = inner[0]
    return tensors_of(path, state)


def tensors_of(path: Path, state: Any) -> dict[str, Tensor]:
    """The tensors of a dict, which a file holds, by name; without the `PREFIXES` that all names
    have.

    Raises:
        UserError: it is no dict, or there are no tensors by name.
    """
    items = state.items() if isinstance(state, dict) else ()
    tensors = {name: tensor for name, tensor in items if isinstance(tensor, Tensor)}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise UserError(
            f"{path}: no tensors under the key `model` or `state_dict`, nor without one"
        )
    while prefix := next(
        (each for each in PREFIXES if all(n.startswith(each) for n in tensors)), ""
    ):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
