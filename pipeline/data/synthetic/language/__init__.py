"""Texts about scenes: captions, questions, statements, articles and books."""
