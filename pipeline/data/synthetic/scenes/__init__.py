"""Scenes and their images."""
