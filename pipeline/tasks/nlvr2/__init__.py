"""NLVR2 (VL-BEiT §3.2): is a statement true of two images?

Training imports `task`, `data` and `metrics`; evaluation `predict` and `visualize`, and of the
former `data` and `metrics`; `make plan` imports `cost`, and use of a saved model `row_predictor`.
"""
