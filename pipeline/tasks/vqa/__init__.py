"""Visual question answering (VL-BEiT §3.2): VQA 2.0.

Fine-tunes import `training` alone; evaluation imports `predict` and `visualize`, and from
`training` data and metrics; `make plan` imports `cost`, and use of a saved model `row_predictor`.
Beside what every task has, `training` has `answers`: the official evaluation's normal form and
accuracy.
"""
