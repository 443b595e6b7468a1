"""Formats that several data sets share: archives, JSON, lists of URLs, ImageNet's tars, Karpathy's
splits."""
