"""Evaluation of a fine-tuned model of any task."""

from pathlib import Path
from typing import Any

import torch

from pipeline import tasks
from pipeline.tasks import Folders
from pipeline.tasks.fine_tunes import FineTune
from pipeline.utils import finite, model_folder


def evaluate(
    fine_tune: FineTune, model: Path, folders: Folders, inputs: Any, params: Any, out: Path
) -> dict[str, Any]:
    """Test metrics of a fine-tuned model, with what was evaluated beside them; predictions and
    figures go into `out`.

    Args:
        model: folder of the saved model.
        inputs, params: the task's `InputParams` and `EvaluateParams`.

    Raises:
        UserError: there is no such model, or one of its scores is NaN or infinite.
    """
    torch.set_num_threads(params.threads)
    module = tasks.load(fine_tune.task, "predict")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = model_folder.load(model, "run the fine-tune again").to(device)
    result = module.evaluate(network, folders, inputs, params, out)
    finite.check_tree(result, f"evaluation of {model}")
    return {
        "task": fine_tune.task,
        "data": fine_tune.data,
        "variant": fine_tune.pretraining,
        "init": fine_tune.init,
        **result,
    }
