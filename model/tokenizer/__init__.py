"""VQ-KD, the visual tokenizer (BEiTv2 §2.1), and the teachers it learns from. Imports
`model.backbone`."""
