"""Image-text retrieval (VL-BEiT §3.2): COCO and Flickr30k.

Training imports `task`, `data`, `global_negatives` and `metrics`; evaluation `predict` and
`visualize`, and of the former `data` and `metrics`; `make plan` imports `cost`, and use of a saved
model `row_predictor`.
"""
