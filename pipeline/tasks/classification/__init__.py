"""Image classification (VL-BEiT §3.3): ImageNet-22k as an intermediate step, then ImageNet-1k.

Fine-tunes import `training` alone; evaluation imports `predict` and `visualize`, and from
`training` data and metrics; `make plan` imports `cost`, and use of a saved model `row_predictor`.
Beside what every task has, `training` has `augment`: timm's augmentations with keyed draws.
"""
