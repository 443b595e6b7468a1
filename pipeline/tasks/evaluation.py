"""Evaluation of a model of any task."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pipeline import tasks
from pipeline.tasks import Folders
from pipeline.tasks.batch_results import BatchMaps
from pipeline.utils import finite, malloc, model_folder


def evaluate(
    task: str,
    model: Path,
    folders: Folders,
    inputs: Any,
    params: Any,
    out: Path,
    maps: BatchMaps,
) -> dict[str, Any]:
    """Test metrics of a model, with the inputs and the precision that they are measured at;
    predictions and figures go into `out`.

    Args:
        model: folder of the saved model.
        inputs, params: the task's `EvaluationInputs` and `EvaluateParams`.
        maps: what runs the model over batches.

    Raises:
        UserError: there is no such model, or one of its scores is NaN or infinite.
    """
    malloc.keep_freed_memory()
    torch.set_num_threads(params.threads)
    module = tasks.load(task, "predict")
    device = device_type()
    network = model_folder.load(model, "run the stage that makes it again").to(device)
    with precision_of(params.precision, device):
        result = module.evaluate(network, folders, inputs, params, out, maps)
    finite.check_tree(result, f"evaluation of {model}")
    return {"precision": params.precision, "inputs": asdict(inputs), **result}


def device_type() -> str:
    """Of the device that evaluates: `cuda` where there is one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def precision_of(precision: str, device: str) -> Iterator[None]:
    """Networks run in bf16 by autocast, or in fp32 that is no TF32. What is made of their outputs,
    which are fp32 in any case, stays fp32."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
