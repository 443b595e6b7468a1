"""Folders of models, with errors for people."""

from pathlib import Path
from typing import Any

from model import checkpoint, hub
from model.checkpoint import Pretrained
from model.hub import Folder
from pipeline.errors import UserError
from pipeline.utils import files


def local(name: Folder) -> Path:
    """As `model.hub.local`. Raises UserError where a model of the hub cannot be fetched."""
    try:
        return hub.local(name)
    except FileNotFoundError as error:
        raise UserError(error.filename) from None


def push_to_hub(folder: Folder, name: str, *, private: bool = False) -> str:
    """Upload an exported model, with its card, as the hub's model `owner/model`; returns its URL.

    Raises:
        UserError: the folder holds no model, or the hub was not reached, or refuses.
    """
    path = Path(folder, checkpoint.CONFIG)
    if not path.exists():
        raise UserError(f"{path}: not found; name the folder of a model")
    try:
        return hub.push(folder, name, private=private)
    except ConnectionError as error:
        raise UserError(f"{error}; log in by `hf auth login`, or see HF_ENDPOINT") from None


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


def class_names(folder: Path) -> tuple[str, ...]:
    """The names of the model's classes in `classes.json`, none if there is no such file. Raises
    UserError where it has others than names."""
    path = folder / "classes.json"
    if not path.exists():
        return ()
    names = files.read_json(path)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: expected a JSON list of names")
    return tuple(names)


def save(model: Pretrained, folder: Path) -> None:
    """Write a model. Raises UserError, and writes nothing, if its weights are no finite numbers."""
    try:
        checkpoint.save(model, folder)
    except ValueError as error:
        raise UserError(f"{error}; train it again at a lower lr, or in fp32") from None
