"""The frozen teacher of VQ-KD, with its released weights."""

from pathlib import Path
from typing import Literal

from model.checkpoint import MALFORMED
from model.tokenizer.teachers import Clip, Dino, Hog
from pipeline.errors import UserError
from pipeline.utils import finite, safe_checkpoint

BLOCK = "params.yaml: visual_tokenizer"
NETWORKS: dict[str, type[Clip] | type[Dino]] = {"clip": Clip, "dino": Dino}

TeacherName = Literal["hog", "clip", "dino"]


def load_teacher(
    name: TeacherName, file: str | None, image_size: int, patch_size: int
) -> Clip | Dino | Hog:
    """The teacher for images of `image_size` pixels in patches of `patch_size`.

    `file` holds a network's weights as timm or their publishers name them (see `safe_checkpoint`);
    HOG has no weights.

    Raises:
        UserError: the weights are missing, another network's or no finite numbers, or it does not
            take images of this size.
    """
    if name == "hog":
        return Hog(patch_size)
    network = NETWORKS[name]
    if (image_size, patch_size) != (network.image_size, network.patch_size):
        raise UserError(
            f"{BLOCK}.teacher: {name} needs images of {network.image_size} px in patches of "
            f"{network.patch_size} px; choose hog, or these sizes"
        )
    if file is None or not Path(file).is_file():
        raise UserError(
            f"{BLOCK}.teacher_file: {file}: no such file; give the weights of {network.name} "
            "(.safetensors, .pth or .pt), or choose the teacher hog"
        )
    teacher, tensors = network(), safe_checkpoint.read_tensors(Path(file))
    try:
        teacher.load(tensors)
    except MALFORMED as error:
        raise UserError(
            f"{file}: not the weights of {network.name}: {' '.join(str(error).split())[:200]}"
        ) from None
    finite.check_weights(Path(file), teacher)
    return teacher
