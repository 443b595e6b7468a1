"""Importing timm where torchvision's compiled operators do not match the installed torch.

timm imports torchvision, and a CUDA build of torchvision beside a CPU build of torch stops with
"operator torchvision::nms does not exist": its Python code describes two operators that its library
could not register. They are declared here, without an implementation, only in that case.
"""

from types import ModuleType

import torch

_BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_timm() -> ModuleType:
    """The timm package."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", _BOXES)
        import torchvision  # noqa: F401
    import timm

    return timm
