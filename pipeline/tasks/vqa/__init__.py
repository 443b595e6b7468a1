"""Visual question answering (VL-BEiT §3.2): VQA 2.0.

Training imports `task`, `data`, `answers` and `metrics`; evaluation `predict` and `visualize`, and
of the former `data`, `answers` and `metrics`; `make plan` imports `cost`, and use of a saved model
`row_predictor`.
"""
