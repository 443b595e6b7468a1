"""Image classification (VL-BEiT §3.3): ImageNet-22k as an intermediate step, then ImageNet-1k.

Training imports `task`, `data`, `augment` and `metrics`; evaluation `predict` and `visualize`, and
of the former `data` and `metrics`; `make plan` imports `cost`, and use of a saved model
`row_predictor`.
"""
