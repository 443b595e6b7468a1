"""Wikitext: the prose of an article of Wikipedia."""
