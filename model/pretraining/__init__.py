"""Mask-then-predict on the backbone (VL-BEiT §2.3). Imports `model.backbone`."""
