"""VL-BEiT and its downstream networks in pure PyTorch. Imports torch and timm; no pipeline, and no
files but in `checkpoint`.
"""
