"""Files of weights that come from elsewhere. No Python in them is run."""

import argparse
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pipeline.errors import UserError

ALLOWED = [argparse.Namespace]  # what training code leaves beside the tensors


def read(path: Path) -> dict[str, Any]:
    """What a .safetensors file, a file of `torch.save` or an archive of TorchScript (.pt) holds, on
    the CPU.

    Raises:
        UserError: it is neither, or has objects in it other than tensors and plain values.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if (
            path.suffix == ".pt"
        ):  # OpenAI's CLIP; its language reaches neither files nor the network
            return torch.jit.load(path, "cpu").state_dict()
        with torch.serialization.safe_globals(ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = (
            f"it has a {found[1]} in it, which could run code"
            if found
            else "it is damaged, or of another kind"
        )
        raise UserError(f"{path}: not a checkpoint of tensors and plain values: {reason}") from None
    except (RuntimeError, EOFError, SafetensorError) as error:
        raise UserError(f"{path}: not a checkpoint: {' '.join(str(error).split())[:150]}") from None
