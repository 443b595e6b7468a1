"""Networks as graphs, which run without this code: by `torch.export`, or as ONNX.

    ImageEncoder  image_encoder  pixels to what its `forward` gives
    Retrieval     image_encoder  pixels to unit vectors [batch, embed_dim]
                  text_encoder   ids and mask to unit vectors [batch, embed_dim]
    VQA           answers        pixels, ids and mask to logits [batch, answers]

Inputs are those of the networks: `pixels` float [batch, 3, size, size] in -1..1, `ids` int64
[batch, length], `mask` bool [batch, length], True for tokens. Batches may have any size, texts any
length up to the model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from model.checkpoint import Pretrained
from pipeline.errors import UserError
from pipeline.utils import files

if TYPE_CHECKING:
    from torch.export import ExportedProgram


class Graph(NamedTuple):
    """A method of a network that becomes a graph."""

    method: str
    inputs: tuple[str, ...]
    output: str


GRAPHS: Mapping[str, Mapping[str, Graph]] = {
    "ImageEncoder": {"image_encoder": Graph("forward", ("pixels",), "features")},
    "Retrieval": {
        "image_encoder": Graph("encode_image", ("pixels",), "features"),
        "text_encoder": Graph("encode_text", ("ids", "mask"), "features"),
    },
    "VQA": {"answers": Graph("forward", ("pixels", "ids", "mask"), "logits")},
}  # by class, by name


class _Method(nn.Module):
    """A method of a network as a module: what torch exports."""

    def __init__(self, network: nn.Module, method: str):
        super().__init__()
        self.network, self.method = network, method

    def forward(self, *inputs: Tensor) -> Tensor:
        return getattr(self.network, self.method)(*inputs)


def programs(network: Pretrained) -> dict[str, ExportedProgram]:
    """The graphs of a network, by name; they take their inputs in the order above.

    Raises:
        UserError: there are none of its class.
    """
    return {name: _program(network, graph) for name, graph in _graphs(network).items()}


def write_onnx(network: Pretrained, folder: str | Path) -> list[Path]:
    """Write the graphs of a network as ONNX, `<name>.onnx` each, into a folder, which may not be
    there yet; returns their paths. Inputs and outputs have the names above.

    Raises:
        UserError: there are none of its class, or a package is missing.
    """
    if find_spec("onnxscript") is None:
        raise UserError("ONNX: needs the package onnxscript; `pip install vlbeit[onnx]` brings it")
    paths = []
    for name, graph in _graphs(network).items():
        path = Path(folder, f"{name}.onnx")
        with files.replacing(path) as temporary:
            torch.onnx.export(
                _program(network, graph),
                f=temporary,
                input_names=graph.inputs,
                output_names=[graph.output],
                external_data=False,
                verbose=False,
            )
        paths.append(path)
    return paths


def _graphs(network: Pretrained) -> Mapping[str, Graph]:
    name = type(network).__name__
    if name not in GRAPHS:
        raise UserError(
            f"this model is a {name}; graphs are made of {', '.join(GRAPHS)}; "
            "ImageEncoder.from_pretrained gives the image encoder of any"
        )
    return GRAPHS[name]


def _program(network: Pretrained, graph: Graph) -> ExportedProgram:
    from torch.export import Dim, export  # with SymPy, which takes a second

    config = getattr(network.config, "backbone", network.config)
    examples = _examples(config, next(network.parameters()).device)
    longest = max(3, config.text_length)  # 1 where there are images alone
    batch, length = Dim("batch"), Dim("length", min=2, max=longest)
    sizes: dict[str, dict[int, Any]] = {
        "pixels": {0: batch},
        "ids": {0: batch, 1: length},
        "mask": {0: batch, 1: length},
    }
    return export(
        _Method(network, graph.method),
        tuple(examples[name] for name in graph.inputs),
        dynamic_shapes={"inputs": tuple(sizes[name] for name in graph.inputs)},
    )


def _examples(config: Any, device: torch.device) -> dict[str, Tensor]:
    """Inputs to trace with. A size of 1, or two that are equal, would be taken for constants."""
    ids = torch.zeros(2, max(3, config.text_length // 2), dtype=torch.int64, device=device)
    pixels = torch.zeros(2, 3, config.image_size, config.image_size, device=device)
    return {"pixels": pixels, "ids": ids, "mask": torch.ones_like(ids, dtype=torch.bool)}
