"""From the wikitext of an article to its paragraphs."""

import re

import mwparserfromhell
from mwparserfromhell.nodes import (
    Argument,
    ExternalLink,
    Heading,
    HTMLEntity,
    Node,
    Tag,
    Template,
    Text,
    Wikilink,
)
from mwparserfromhell.parser import ParserError
from mwparserfromhell.wikicode import Wikicode

from pipeline.data.datasets.formats.wikitext import open_marks, templates
from pipeline.data.records import HOLE, tidy

_BACK_MATTER = frozenset(
    (
        "references",
        "external links",
        "see also",
        "further reading",
        "notes",
        "bibliography",
        "sources",
        "footnotes",
        "notes and references",
        "citations",
    )
)
_SILENT_TAGS = frozenset(
    ("ref", "references", "style", "script", "templatestyles", "section", "indicator")
)
_TAGS_WITHOUT_TEXT = frozenset(
    (
        "table",
        "gallery",
        "math",
        "ce",
        "chem",
        "timeline",
        "imagemap",
        "score",
        "syntaxhighlight",
        "source",
        "graph",
        "mapframe",
        "hiero",
    )
)
_DROPPED_LINKS = frozenset(("file", "image", "media", "category", "template", "portal"))
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*")
# Quotes that mean italics or bold (where they are unbalanced, the parser does not parse the whole
# section), and magic words.
_STYLE = re.compile(r"''(?='s\b)|'{2,}|__[A-Z]+__")
_LIST_MARKS = "*#:; \t"
_FEWEST_WORDS = 5  # a shorter line is a list item or a caption, not prose (choice)
_LARGEST_COST = 5_000_000  # characters (choice: a second or two; real pages have ten thousands)
_COMMENT = re.compile("<!--.*?-->", re.DOTALL)
_NOTE = re.compile(  # without another one in it
    r"<ref\b[^<>]*(?<!/)>[^<]*(?:<(?!/?ref\b)[^<]*)*</ref\s*>", re.IGNORECASE
)
_UNPARSED = re.compile(r"\{\{+|\}\}+|\[\[|\]\]|</?ref\b[^<>]*>?")
_BRACKETS = re.compile(r" ?\(([^()]*)\)")
_EMPTY_BRACKETS = re.compile(r"(?<!\S)\(\s*[;,]|[;,]\s*\)|(?<!\S)\(\s*\)")
_SEPARATORS = " ,:\xa0"
_DEEPEST_BRACKETS = 4
# Where a sentence lost nothing: between two, and at the ends of a line.
_BETWEEN_SENTENCES = re.compile(
    rf"(?:^|(?<=[.!?])|(?<=[.!?][\"'”’)\]])) ?{HOLE}[{HOLE} ]*(?=$|[\"'“‘(\[]*[A-Z0-9])"
)


class NotProse(Exception):
    """Wikitext cannot be read. The message is the reason: `kind` or `kind: detail`."""


def paragraphs(wikitext: str) -> list[str]:
    """The paragraphs of an article's prose: no markup, headings, tables, references, images, back
    matter.

    HOLE stands in a sentence for what it has lost.

    Raises:
        NotProse: it cannot be parsed, or not in a time in proportion to its length.
    """
    texts, skipping = [], False
    for node in _parsed(wikitext).nodes:
        if isinstance(node, Heading):
            skipping = node.title.strip_code().strip().lower() in _BACK_MATTER
            texts.append("\n")
        elif not skipping:
            texts.append(_plain_text(node))
    lines = []
    for line in _STYLE.sub("", _UNPARSED.sub(HOLE, "".join(texts))).splitlines():
        text = _mended(tidy(line.lstrip(_LIST_MARKS)))
        if len(text.split()) >= _FEWEST_WORDS and text[0] not in "|!{":
            lines.append(text)
    return lines


def _parsed(wikitext: str) -> Wikicode:
    """The tree, without comments and nearly all footnotes, which would be most of it."""
    last = wikitext.rfind("-->") + len("-->")
    wikitext = _NOTE.sub("", _COMMENT.sub("", wikitext[:last]) + wikitext[last:])
    if open_marks.are_costly(wikitext, _LARGEST_COST):
        raise NotProse("too many marks without an end")
    try:
        return mwparserfromhell.parse(wikitext, skip_style_tags=True)
    except (ParserError, RecursionError) as error:
        raise NotProse(f"wikitext that cannot be parsed: {type(error).__name__}") from None


def _mended(line: str) -> str:
    """A tidy line without what is left of brackets, and without HOLE where no sentence has lost
    anything by it."""
    if HOLE not in line and not _EMPTY_BRACKETS.search(line):
        return line
    for _ in range(_DEEPEST_BRACKETS):
        shorter = _BRACKETS.sub(_usable_brackets, line)
        if shorter == line:
            break
        line = shorter
    return tidy(_BETWEEN_SENTENCES.sub(" ", line))


def _usable_brackets(match: re.Match[str]) -> str:
    """A pair of brackets with the parts between semicolons that lost nothing; all of it if there
    was nothing to lose."""
    if HOLE not in match[1] and not _EMPTY_BRACKETS.search(f"({match[1]})"):
        return match[0]
    parts = []
    for part in match[1].split(";"):
        if HOLE not in part and (text := part.strip(_SEPARATORS)):
            parts.append(text)
    return f"{match[0][0].strip('(')}({'; '.join(parts)})" if parts else ""


def _plain_text(node: Node) -> str:
    """The text of a node as a reader sees it, HOLE for what has none here."""
    if isinstance(node, Text):
        return node.value
    if isinstance(node, HTMLEntity):
        return node.normalize() or ""
    if isinstance(node, Wikilink):
        return _link_text(node)
    if isinstance(node, ExternalLink):
        return _inner_text(node.title)
    if isinstance(node, Tag):
        return _tag_text(node)
    if isinstance(node, Template):
        return _template_text(node)
    return HOLE if isinstance(node, Argument) else ""


def _inner_text(code: Wikicode | None) -> str:
    return "" if code is None else "".join(map(_plain_text, code.nodes))


def _tag_text(node: Tag) -> str:
    name = str(node.tag).strip().lower()
    if name in _TAGS_WITHOUT_TEXT:
        return HOLE
    if name == "br":
        return "\n"
    return "" if name in _SILENT_TAGS else _inner_text(node.contents)


def _template_text(node: Template) -> str:
    name = templates.normalized(_inner_text(node.name))
    if templates.is_silent(name):
        return ""
    if (render := templates.renderer(name)) is None:
        return HOLE
    arguments = {}
    for parameter in node.params:
        arguments[str(parameter.name).strip()] = _inner_text(parameter.value).strip()
    return render(templates.Call(name, arguments))


def _link_text(node: Wikilink) -> str:
    prefix = str(node.title).partition(":")[0].strip().lower() if ":" in node.title else ""
    if prefix in _DROPPED_LINKS or (node.text is None and _LANGUAGE.fullmatch(prefix)):
        return ""
    return _inner_text(node.title if node.text is None else node.text)
