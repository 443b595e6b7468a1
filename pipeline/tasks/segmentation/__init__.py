"""Semantic segmentation (VL-BEiT §3.3, with BEiT's recipe for ADE20K).

Training imports `task`, `data`, `augment`, `sliding_window` and `metrics`; evaluation `predict` and
`visualize`, and of the former `data`, `sliding_window` and `metrics`; `make plan` imports `cost`,
and use of a saved model `row_predictor`.
"""
