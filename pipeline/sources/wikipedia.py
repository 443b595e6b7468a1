"""English Wikipedia: the multistream XML dump, from wikitext to sentences."""

import bz2
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import mwparserfromhell
from mwparserfromhell.nodes import ExternalLink, Heading, HTMLEntity, Node, Tag, Text, Wikilink
from mwparserfromhell.wikicode import Wikicode

from pipeline.errors import UserError
from pipeline.sources import sentences
from pipeline.sources.records import Rejected, TextRecord, tidy

KIND = "text"
_DUMPS = "enwiki-*-pages-articles*.xml*.bz2"
_BACK_MATTER = frozenset(("references", "external links", "see also", "further reading", "notes", "bibliography",
                          "sources", "footnotes", "notes and references", "citations"))
_DROPPED_TAGS = frozenset(("ref", "references", "table", "gallery", "math", "timeline", "imagemap", "score",
                           "syntaxhighlight", "source", "style", "script", "templatestyles"))
_DROPPED_LINKS = frozenset(("file", "image", "media", "category", "template", "portal"))
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*")
# Quotes that mean italics or bold (the parser gives up on whole sections where they do not balance), magic words.
_STYLE = re.compile(r"''(?='s\b)|'{2,}|__[A-Z]+__")
_LIST_MARKS = "*#:; \t"
_WORDS = 5  # a shorter line is a list item or a caption, not prose (choice)


def files(root: Path) -> list[Path]:
    """The dump, whole or in parts."""
    if found := sorted(path for path in root.glob(_DUMPS) if "-index" not in path.name):
        return found
    raise FileNotFoundError(f"no {_DUMPS} in {root}")


def read(root: Path) -> Iterator[TextRecord | Rejected]:
    """Articles in dump order, keyed by page id. Redirects and pages outside the main namespace are passed over.

    Raises:
        UserError: a dump is cut short or damaged.
    """
    for path in files(root):
        try:
            for number, text in _articles(path):
                found = tuple(sentence for line in paragraphs(text) for sentence in sentences.split(line))
                yield TextRecord(number, "train", found) if found else Rejected(number, "no prose")
        except (ElementTree.ParseError, EOFError, OSError) as error:
            raise UserError(f"{path}: damaged dump: {error}") from None


def paragraphs(wikitext: str) -> list[str]:
    """The prose of an article, a paragraph each: no markup, headings, tables, references, pictures, back matter."""
    kept, skipping = [], False
    for node in mwparserfromhell.parse(wikitext, skip_style_tags=True).nodes:
        if isinstance(node, Heading):
            skipping = node.title.strip_code().strip().lower() in _BACK_MATTER
            kept.append("\n")
        elif not skipping:
            kept.append(_plain(node))
    lines = (tidy(line.lstrip(_LIST_MARKS)) for line in _STYLE.sub("", "".join(kept)).splitlines())
    return [line for line in lines if len(line.split()) >= _WORDS and line[0] not in "|!{"]


def _articles(path: Path) -> Iterator[tuple[str, str]]:
    """Page id and wikitext of the articles; tags are matched by local name, as the namespace changes over the years."""
    with bz2.open(path) as file:
        events = ElementTree.iterparse(file, events=("start", "end"))
        root = next(events)[1]
        for event, element in events:
            if event == "end" and _local(element) == "page":
                page = {_local(child): child for child in element}
                if page["ns"].text == "0" and "redirect" not in page:
                    revision = {_local(child): child.text for child in page["revision"]}
                    yield page["id"].text, revision.get("text") or ""
                root.clear()


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _plain(node: Node) -> str:
    """What a reader sees of a node; templates, comments and arguments leave nothing."""
    if isinstance(node, Text):
        return node.value
    if isinstance(node, HTMLEntity):
        return node.normalize() or ""
    if isinstance(node, Wikilink):
        return _link(node)
    if isinstance(node, ExternalLink):
        return _inner(node.title)
    if isinstance(node, Tag):
        name = str(node.tag).strip().lower()
        return "" if name in _DROPPED_TAGS else "\n" if name == "br" else _inner(node.contents)
    return ""


def _inner(code: Wikicode | None) -> str:
    return "" if code is None else "".join(map(_plain, code.nodes))


def _link(node: Wikilink) -> str:
    prefix = str(node.title).partition(":")[0].strip().lower() if ":" in node.title else ""
    if prefix in _DROPPED_LINKS or (node.text is None and _LANGUAGE.fullmatch(prefix)):
        return ""
    return _inner(node.title if node.text is None else node.text)
