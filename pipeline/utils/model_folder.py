"""Folders of models, with errors for people."""

from pathlib import Path
from typing import Any

from model import checkpoint
from model.checkpoint import Pretrained
from pipeline.errors import UserError


def load(folder: Path, advice: str) -> Any:
    """The model in a folder, in evaluation mode.

    Raises:
        UserError: there is none, it is damaged, or its weights are no finite numbers. `advice` says
            what to do.
    """
    try:
        return checkpoint.load(folder)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not found; {advice}") from None
    except ValueError as error:
        raise UserError(f"{error}; {advice}") from None


def save(model: Pretrained, folder: Path) -> None:
    """Write a model. Raises UserError, and writes nothing, if its weights are no finite numbers."""
    try:
        checkpoint.save(model, folder)
    except ValueError as error:
        raise UserError(f"{error}; train it again at a lower lr, or in fp32") from None
