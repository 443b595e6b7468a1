"""Synthetic data: scenes, their images and texts, written in the format of each source's official
files."""
