"""The frozen teacher of VQ-KD, with its weights."""

from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file

from model.teachers import Clip, Hog
from pipeline.errors import UserError

BLOCK = "params.yaml: visual_tokenizer"


def teacher(kind: Literal["hog", "clip"], file: str | None, image_size: int, patch_size: int) -> Clip | Hog:
    """The teacher for pictures of `image_size` pixels in patches of `patch_size`.

    `file` holds CLIP's weights as timm, OpenCLIP or OpenAI name them (.safetensors or .pth); the HOG has none.

    Raises:
        UserError: the weights are missing or are not CLIP's, or CLIP cannot see pictures of this size.
    """
    if kind == "hog":
        return Hog(patch_size)
    if (image_size, patch_size) != (Clip.image_size, Clip.patch_size):
        raise UserError(f"{BLOCK}.teacher: clip needs pictures of {Clip.image_size} px in patches of "
                        f"{Clip.patch_size} px; choose hog, or these sizes")
    if file is None or not Path(file).is_file():
        raise UserError(f"{BLOCK}.teacher_file: {file}: no such file; give the weights of {Clip.name} "
                        "(.safetensors or .pth), or choose the teacher hog")
    clip = Clip()
    try:
        clip.load(_read(Path(file)))
    except (RuntimeError, KeyError) as error:
        raise UserError(f"{file}: not the weights of {Clip.name}: {' '.join(str(error).split())[:200]}") from None
    return clip


def _read(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
