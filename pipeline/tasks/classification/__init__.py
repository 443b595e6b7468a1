"""Image classification: ImageNet-22k as an intermediate step, then ImageNet-1k."""
