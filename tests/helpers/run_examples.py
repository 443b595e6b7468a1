"""Runs examples with the installed library alone, in the current folder; imports nothing of this
project.

stdin: JSON with `examples`, code by heading, and `base`, changes to the size of the timm model.
stdout: JSON, by heading the shapes of the tensors that the code leaves.
"""

import json
import sys
from dataclasses import replace
from typing import Any

import torch
from vlbeit.model import timm_encoder


def shapes(code: str, heading: str) -> dict[str, Any]:
    variables: dict[str, Any] = {}
    exec(compile(code, heading, "exec"), variables)  # noqa: S102  (the documentation's own code)
    tensors = (torch.Tensor, list)
    found = {}
    for name, value in variables.items():
        values = value if isinstance(value, list) else [value]
        if isinstance(value, tensors) and all(isinstance(one, torch.Tensor) for one in values):
            listed = [list(one.shape) for one in values]
            found[name] = listed if isinstance(value, list) else listed[0]
    return found


request = json.load(sys.stdin)
timm_encoder.BASE = replace(timm_encoder.BASE, **request["base"])
printed, sys.stdout = sys.stdout, sys.stderr
torch.set_num_threads(1)
json.dump(
    {heading: shapes(code, heading) for heading, code in request["examples"].items()}, printed
)
