"""Evaluation of a fine-tuned model of any task."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from model import checkpoint
from pipeline import tasks
from pipeline.errors import UserError
from pipeline.tasks import Folders
from pipeline.tasks.fine_tunes import FineTune


def evaluate(
    fine_tune: FineTune, model: Path, folders: Folders, inputs: Any, params: Any, out: Path
) -> dict[str, Any]:
    """Test metrics of a fine-tuned model, with what was evaluated beside them; predictions and
    figures go into `out`.

    Args:
        model: folder of the saved model.
        inputs, params: the task's `InputParams` and `EvaluateParams`.
    """
    torch.set_num_threads(params.threads)
    module = tasks.load(fine_tune.task, "predict")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    result = module.evaluate(_load(model).to(device), folders, inputs, params, out)
    return {
        "task": fine_tune.task,
        "data": fine_tune.data,
        "variant": fine_tune.pretraining,
        "init": fine_tune.init,
        **result,
    }


def _load(folder: Path) -> nn.Module:
    try:
        return checkpoint.load(folder)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not found; run the fine-tune") from None
    except ValueError as error:
        raise UserError(f"{error}; run the fine-tune again") from None
