"""Image-text retrieval (VL-BEiT §3.2): COCO and Flickr30k.

Fine-tunes import `training` alone; evaluation imports `predict` and `visualize`, and from
`training` data and metrics; `make plan` imports `cost`, and use of a saved model `row_predictor`.
Beside what every task has, `training` has `global_negatives`: what a micro-batch needs of the
global batch.
"""
