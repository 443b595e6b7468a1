"""The multimodal Transformer (VL-BEiT §2.1, §2.2) and the layers that all networks share. Of
`model` it imports `checkpoint` alone.
"""
