"""What exported graphs take: `OMP_WAIT_POLICY=passive python -m benchmarks.graphs` (needs
`pip install --group onnx`).

The base size at 224 pixels, made-up weights, fp32, all threads, a batch of 4 images with texts of 14
ids: megabytes of the files; seconds for an image or text by the network itself, by the program of
`torch.export`, and by onnxruntime; and by how much ONNX's outputs differ. Seconds are CPU seconds over
threads, so that other load on the machine counts little: a thread that waits for another one must not
spin, which the variable sees to for torch.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch.export import ExportedProgram

from benchmarks.clock import report
from benchmarks.released import made_up
from model.checkpoint import Pretrained
from model.heads.retrieval import Retrieval, RetrievalConfig
from model.heads.vqa import VQA, VQAConfig
from model.timm_encoder import ImageEncoder, ImageEncoderConfig
from pipeline.inference import graphs
from pipeline.released.base_size import BASE

BATCH, TEXT, ROUNDS, ANSWERS = 4, 14, 3, 3_129
VL_BEIT = replace(BASE, vocab_size=64_000, text_length=40)


def lines(folder: Path) -> Iterator[str]:
    """A row of the table for each graph."""
    yield "| graph | MB, .pt2 | MB, .onnx | network, s | torch.export, s | onnxruntime, s | differs by |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for build in (
        lambda: ImageEncoder(ImageEncoderConfig(BASE, 1000, "avg")),
        lambda: Retrieval(RetrievalConfig(VL_BEIT)),
        lambda: VQA(VQAConfig(VL_BEIT, tuple(map(str, range(ANSWERS))))),
    ):
        yield from _rows(made_up(build), folder)


def _rows(network: Pretrained, folder: Path) -> Iterator[str]:
    programs = graphs.programs(network)
    for onnx in graphs.write_onnx(network, folder):
        yield _row(network, programs[onnx.stem], onnx)


@torch.inference_mode()
def _row(network: Pretrained, program: ExportedProgram, onnx: Path) -> str:
    torch.export.save(program, pt2 := onnx.with_suffix(".pt2"))
    graph = graphs.GRAPHS[type(network).__name__][onnx.stem]
    inputs = _inputs(network.config, graph)
    arrays = {name: value.numpy() for name, value in inputs.items()}
    method, exported = getattr(network, graph.method), program.module()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(onnx, options)
    ways: dict[str, Callable[[], Any]] = {
        "network": lambda: method(*inputs.values()),
        "torch.export": lambda: exported(*inputs.values()),
        "onnxruntime": lambda: session.run(None, arrays)[0],
    }
    error = np.abs(ways["network"]().numpy() - ways["onnxruntime"]()).max()
    shown = " | ".join(f"{cpu_seconds(way):.3f}" for way in ways.values())
    name = f"{type(network).__name__} {onnx.stem}"
    return f"| {name} | {_megabytes(pt2)} | {_megabytes(onnx)} | {shown} | {error:.0e} |"


def _inputs(config: Any, graph: graphs.Graph) -> dict[str, torch.Tensor]:
    size = config.backbone.image_size
    every = {
        "pixels": torch.rand(BATCH, 3, size, size) * 2 - 1,
        "ids": torch.randint(5, 64_000, (BATCH, TEXT)),
        "mask": torch.ones(BATCH, TEXT, dtype=torch.bool),
    }
    return {name: every[name] for name in graph.inputs}


def cpu_seconds(way: Callable[[], Any]) -> float:
    """Median for one of the batch, over threads, after a round that is not counted."""
    measured = []
    for _ in range(ROUNDS + 1):
        start = time.process_time()
        way()
        measured.append((time.process_time() - start) / torch.get_num_threads() / BATCH)
    return median(measured[1:])


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.0f}"


if __name__ == "__main__":
    report(lines)
