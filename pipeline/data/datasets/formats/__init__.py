"""Formats of files: archives, JSON, text, lists of URLs, ImageNet's tars, Karpathy's splits,
wikitext."""
