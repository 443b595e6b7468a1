"""What marks without an end cost the parser of wikitext.

It reads on from each of them to the end of the page, finds no end, and goes back: a thousand of
them in a page of a megabyte are a thousand million steps. So they are counted before it starts.
"""

import re
from collections import Counter

# Tags whose content is not parsed.
_RAW_TAGS = (
    "nowiki", "pre", "math", "gallery", "timeline", "score", "source", "syntaxhighlight", "imagemap",
    "ce", "chem", "graph", "hiero", "section", "templatedata", "inputbox", "categorytree",
)  # fmt: skip
_EMPTY_TAGS = frozenset(("br", "wbr", "hr", "meta", "link", "img"))
_ITEM_TAGS = frozenset(("dd", "dt", "li", "th", "td", "tr"))  # their end may be left out
_MARK = re.compile(
    r"<!--|\{\{|\}\}|\[\[|\{\||\|\}(?!\})|\[(?=(?:[a-z]{2,9}:)?//)|\]|"
    r"<(?P<close>/?)(?P<tag>[a-z][a-z0-9]*)(?=(?P<rest>[^<>]*)(?P<end>>?))"
)
_CLOSES = {"}}": "{{", "|}": "{|"}


def are_costly(wikitext: str, most: int) -> bool:
    """Whether the parser reads more than `most` characters in vain: for each mark without an end
    those behind it.

    wikitext: without comments.
    """
    marks = sum(map(wikitext.count, "{[<"))
    return marks * len(wikitext) > most and _cost(wikitext) > most


def _cost(wikitext: str) -> int:
    text = _parsed_part(wikitext.lower())
    marks = _OpenMarks()
    for match in _MARK.finditer(text):
        _count(match, marks)
    return sum(len(text) - position for position in marks.unclosed())


def _parsed_part(text: str) -> str:
    """The text (in lower case) without contents that are not parsed."""
    for name in _RAW_TAGS:
        end = f"</{name}"
        if end in text:
            # Behind the last end none is sought: each start would take a look at all of the text.
            stop = text.rfind(end) + len(end)
            content = re.compile(rf"<{name}\b[^<>]*>.*?{end}", re.DOTALL)
            text = content.sub("</", text[:stop]) + text[stop:]
    return text


class _OpenMarks:
    """Marks whose end is yet to come. One that ends outside of the mark in which it starts has
    none."""

    def __init__(self) -> None:
        self._stack: list[tuple[str, int]] = []
        self._count: Counter[str] = Counter()
        self._items: list[int] = []
        self._bracket = -2  # position of the last `]` that may be the first half of `]]`
        self._unclosed: list[int] = []

    def open(self, kind: str, position: int) -> None:
        """A mark at a position."""
        if kind in _ITEM_TAGS:
            self._items.append(position)
        else:
            self._stack.append((kind, position))
            self._count[kind] += 1

    def close(self, kind: str) -> None:
        """The end of a mark."""
        if kind in _ITEM_TAGS:
            del self._items[-1:]
        elif self._count[kind]:
            while (inner := self._pop())[0] != kind:
                self._unclosed.append(inner[1])
        elif kind.isalnum():  # every item that is still open was read up to this end of no tag
            self._unclosed += self._items
            self._items.clear()

    def close_bracket(self, position: int) -> None:
        """A `]`: the end of an external link, or half of that of a link."""
        if self._stack and self._stack[-1][0] == "[":
            self._pop()
        elif self._bracket == position - 1:
            self.close("[[")
            self._bracket = -2
        else:
            self._bracket = position

    def unclosed(self) -> list[int]:
        """Positions of the marks without an end."""
        return self._unclosed + [position for _, position in self._stack]

    def _pop(self) -> tuple[str, int]:
        self._count[self._stack[-1][0]] -= 1
        return self._stack.pop()


def _count(match: re.Match[str], marks: _OpenMarks) -> None:
    mark, tag = match[0], match["tag"]
    if mark in _CLOSES:
        marks.close(_CLOSES[mark])
    elif mark == "]":
        marks.close_bracket(match.start())
    elif tag is None:
        marks.open(mark, match.start())
    elif not match["end"]:
        marks.open(f"<{tag}", match.start())  # not even the tag ends
    elif match["close"]:
        marks.close(tag)
    elif tag not in _EMPTY_TAGS and not match["rest"].endswith("/"):
        marks.open(tag, match.start())
