"""Semantic segmentation (VL-BEiT §3.3, with BEiT's recipe for ADE20K).

Fine-tunes import `training` alone; evaluation imports `predict` and `visualize`, and from
`training` data and metrics; `make plan` imports `cost`, and use of a saved model `row_predictor`.
Beside what every task has, `training` has `augment`, of images together with their masks, and
`sliding_window`: images of any size.
"""
