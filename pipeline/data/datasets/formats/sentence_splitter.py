"""Splitting English prose into sentences by rule."""

import re

from pipeline.data.records import HOLE

# Possessive, and from the first mark alone: the time stays linear in rows of marks.
_END = re.compile(r"([.!?](?<![.!?][.!?])[.!?]*+)[\"'”’)\]]*+\s++(?=[\"'“‘(\[]*+([^\s\"'“‘(\[]))")
_DOTTED = re.compile(r"(?:\w\.)*\w")  # an initial ("J") or an acronym ("U.S", "e.g")
_LONGEST_WORD = 64  # characters: what is longer is no abbreviation
_ABBREVIATION_LIST = """
    mr mrs ms messrs dr prof rev hon st mt ft gen col maj capt lt sgt sr jr esq vs etc vol fig figs
    pp ed eds ca cf approx dept est inc ltd corp bros jan feb mar apr aug sept sep oct nov dec
"""
_ABBREVIATIONS = frozenset(_ABBREVIATION_LIST.split())


def split(paragraph: str) -> list[str]:
    """The sentences of a paragraph that has no line breaks.

    A sentence ends with `.`, `!` or `?` (and closing quotes or brackets) before a blank and a
    capital, a digit or HOLE, unless the dot belongs to a known abbreviation, an initial or an acronym.
    """
    sentences, start = [], 0
    for match in _END.finditer(paragraph):
        following = match[2]
        if not (following.isupper() or following.isdigit() or following == HOLE):
            continue
        before = max(start, match.start() - _LONGEST_WORD)
        if match[1] == "." and _abbreviated(paragraph[before : match.start()]):
            continue
        sentences.append(paragraph[start : match.end()].strip())
        start = match.end()
    return [*sentences, rest] if (rest := paragraph[start:].strip()) else sentences


def _abbreviated(text: str) -> bool:
    word = text.rpartition(" ")[2].lstrip("\"'“‘([")
    return word.lower() in _ABBREVIATIONS or (
        word[:1].isalpha() and _DOTTED.fullmatch(word) is not None
    )
