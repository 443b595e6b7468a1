"""Wikipedia: one multistream XML dump with articles in wikitext, redirects and pages of other
namespaces."""

import hashlib
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from pipeline.data.synthetic import archives
from pipeline.data.synthetic.language import caption_grammar, encyclopedia
from pipeline.data.synthetic.language.encyclopedia import Article
from pipeline.data.synthetic.params import SyntheticParams

_NAME = "enwiki-20220301-pages-articles-multistream.xml.bz2"
_STREAM = 100  # pages of one bz2 stream, as in the real dumps
_NAMESPACES = {-1: "Special", 0: "", 1: "Talk", 10: "Template", 14: "Category"}
_TIME = "2022-03-01T00:00:00Z"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official file. `pages` counts articles; redirects and other pages come on top."""
    archives.write_bz2_streams(folder / _NAME, _streams(params))


def _streams(params: SyntheticParams) -> Iterator[str]:
    """The header, 100 pages at a time, and the closing tag: each becomes a bz2 stream."""
    yield _header()
    pages = _pages(params)
    while chunk := "".join(islice(pages, _STREAM)):
        yield chunk
    yield "</mediawiki>\n"


def _header() -> str:
    spaces = []
    for key, name in _NAMESPACES.items():
        spaces.append(f'      <namespace key="{key}" case="first-letter">{name}</namespace>\n')
    return (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en">\n'
        "  <siteinfo>\n"
        "    <sitename>Wikipedia</sitename>\n    <dbname>enwiki</dbname>\n"
        f"    <namespaces>\n{''.join(spaces)}    </namespaces>\n  </siteinfo>\n"
    )


def _pages(params: SyntheticParams) -> Iterator[str]:
    """The articles, every third with a redirect, every tenth with a talk page."""
    numbers = count(10)
    yield _page("Template:Infobox", 10, next(numbers), "<includeonly>{{{name}}}</includeonly>")
    articles = encyclopedia.articles(params, params.count("wikipedia", "pages"))
    for index, article in enumerate(articles):
        title = article.title
        yield _page(title, 0, next(numbers), _wikitext(article))
        if index % 3 == 0:
            yield _page(f"{title}s", 0, next(numbers), f"#REDIRECT [[{title}]]", title)
        if index % 10 == 0:
            yield _page(f"Talk:{title}", 1, next(numbers), "Is this sourced? ~~~~")


def _page(title: str, space: int, number: int, text: str, target: str | None = None) -> str:
    """The XML of a page. space: key of its namespace; target: title that a redirect leads to."""
    redirect = f"    <redirect title={quoteattr(target)} />\n" if target else ""
    sha1 = _base36(hashlib.sha1(text.encode()).digest())
    return (
        f"  <page>\n    <title>{escape(title)}</title>\n    <ns>{space}</ns>\n"
        f"    <id>{number}</id>\n{redirect}"
        f"    <revision>\n      <id>{1000 + number}</id>\n      <timestamp>{_TIME}</timestamp>\n"
        "      <contributor>\n        <username>Editor</username>\n        <id>1</id>\n"
        "      </contributor>\n"
        "      <model>wikitext</model>\n      <format>text/x-wiki</format>\n"
        f'      <text bytes="{len(text.encode())}" xml:space="preserve">{escape(text)}</text>\n'
        f"      <sha1>{sha1}</sha1>\n    </revision>\n  </page>\n"
    )


def _wikitext(article: Article) -> str:
    """An article with the markup that real ones have."""
    title, kind = article.title, article.kind
    sections = []
    for name, sentences in article.sections.items():
        sections.append(f"== {name} ==\n{_with_footnote(sentences)}")
    text, introduction = "\n\n".join(sections), " ".join(article.introduction)
    citation = "{{cite book|title=The World|year=1912}}"
    return (
        f"{{{{Short description|One of the {kind}s of the world}}}}\n"
        f"{{{{Infobox {kind}\n| name = {title}\n| image = {title}.jpg\n}}}}\n"
        f"[[File:{title}.jpg|thumb|right|The {kind} in a [[picture]]]]\n"
        f"'''{title}''' is {caption_grammar.an(kind)} [[List of {kind}s|{kind}]]. <!-- lead -->"
        f'{introduction}<ref name="a">{citation}</ref>\n\n{text}\n\n'
        f'{{| class="wikitable"\n! Kind !! Name\n|-\n| {kind} || {title}\n|}}\n\n'
        "== See also ==\n* [[World]]\n* [[Picture]]\n\n== References ==\n{{reflist}}\n\n"
        f"[[Category:{kind.capitalize()}s]]\n"
    )


def _with_footnote(sentences: tuple[str, ...]) -> str:
    """A paragraph with a footnote after its first sentence."""
    first, *rest = sentences
    return " ".join([first + "<ref>''Annals'', vol.&nbsp;2.</ref>", *rest])


def _base36(digest: bytes) -> str:
    """The digest as 31 digits or letters, as MediaWiki writes SHA-1."""
    value, digits = int.from_bytes(digest, "big"), ""
    while value:
        value, digit = divmod(value, 36)
        digits = _DIGITS[digit] + digits
    return digits.rjust(31, "0")
