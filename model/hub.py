"""Models of the Hugging Face hub, or of what stands in for it (`HF_ENDPOINT`)."""

import re
from collections.abc import Callable
from errno import ENOENT
from os import PathLike
from pathlib import Path
from typing import TypeVar

from model import weights_file

Folder = str | PathLike[str]
Result = TypeVar("Result")

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # owner and model
# Weights, configuration, names of classes, card, and text tokenizers.
FILES = ("model.safetensors", "*.json", "README.md", "spm.model", "beit3.spm", "vocab.txt")


def local(name: Folder) -> Path:
    """The folder of a model. A string `owner/model` that is no folder here is one of the hub: its
    files are fetched, unless the hub's cache has them.

    Raises:
        FileNotFoundError: it is no folder and could not be fetched; `filename` is one line that
            says why.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name) or Path(name).exists():
        return Path(name)
    from huggingface_hub import snapshot_download

    try:
        return Path(_asked(lambda: snapshot_download(name, allow_patterns=list(FILES))))
    except ConnectionError as error:
        reason = f"{name}: no folder here, and not fetched from the hub ({error})"
        raise FileNotFoundError(ENOENT, "no model", reason) from None


def push(folder: Folder, name: str, *, private: bool = False) -> str:
    """Upload the files of a model's folder as the hub's model `owner/model`, which is made where
    there is none, private or not. Returns its URL.

    Raises:
        ConnectionError: the hub was not reached, or refuses. One line.
    """
    from huggingface_hub import HfApi

    def upload() -> str:
        api = HfApi()
        url = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=Path(folder), allow_patterns=list(FILES))
        return str(url)

    try:
        return _asked(upload)
    except ConnectionError as error:
        raise ConnectionError(f"{name}: not uploaded to the hub ({error})") from None


def _asked(request: Callable[[], Result]) -> Result:
    """What a request to the hub gives. Raises ConnectionError, one line, for all that may stop it:
    no network, no right, no such model, a damaged answer."""
    from huggingface_hub.errors import HFValidationError, HTTPError

    try:
        return request()
    except (OSError, HFValidationError, HTTPError) as error:
        raise ConnectionError(weights_file.one_line(error)) from None
