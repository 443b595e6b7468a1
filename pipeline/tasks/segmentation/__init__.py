"""Semantic segmentation: ADE20K."""
