"""Pretraining as a task of the loop (VL-BEiT §2.3). Imports `tokenizers` and below."""
