"""NLVR2 (VL-BEiT §3.2): is a statement true of two images?

Fine-tunes import `training` alone; evaluation imports `predict` and `visualize`, and from
`training` data and metrics; `make plan` imports `cost`, and use of a saved model `row_predictor`.
"""
