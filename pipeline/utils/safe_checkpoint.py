"""Reading checkpoint files that others publish, without running any Python in them."""

import argparse
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pipeline.errors import UserError


def read(path: Path) -> dict[str, Any]:
    """The content of a .safetensors file, a file of `torch.save` or a TorchScript archive (.pt), on
    the CPU.

    Raises:
        UserError: it is none of these, or holds objects other than tensors and plain values.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".pt":  # OpenAI's CLIP; TorchScript reaches neither files nor network
            return torch.jit.load(path, "cpu").state_dict()
        # training code saves its command line beside the tensors
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "it is damaged, or of another kind"
        if name := re.search(r"GLOBAL ([\w.]+)", str(error)):
            reason = f"it has a {name[1]} in it, which could run code"
        raise UserError(f"{path}: not a checkpoint of tensors and plain values: {reason}") from None
    except (RuntimeError, EOFError, SafetensorError) as error:
        raise UserError(f"{path}: not a checkpoint: {' '.join(str(error).split())[:150]}") from None
