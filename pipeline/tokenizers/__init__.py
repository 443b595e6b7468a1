"""Texts and images as ids: SentencePiece, VQ-KD. Imports `training`, `data` and below."""
