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
    """The header, runs of 100 pages, and the closing tag, each to be a bz2 stream of its own."""
    spaces = "".join(
        f'      <namespace key="{key}" case="first-letter">{name}</namespace>\n'
        for key, name in _NAMESPACES.items()
    )
    yield (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en">\n  <siteinfo>\n'
        "    <sitename>Wikipedia</sitename>\n    <dbname>enwiki</dbname>\n"
        f"    <namespaces>\n{spaces}    </namespaces>\n  </siteinfo>\n"
    )
    pages = _pages(params)
    while run := "".join(islice(pages, _STREAM)):
        yield run
    yield "</mediawiki>\n"


def _pages(params: SyntheticParams) -> Iterator[str]:
    numbers = count(10)
    yield _page("Template:Infobox", 10, next(numbers), "<includeonly>{{{name}}}</includeonly>")
    for index, article in enumerate(
        encyclopedia.articles(params, params.count("wikipedia", "pages"))
    ):
        yield _page(article.title, 0, next(numbers), _wikitext(article))
        if index % 3 == 0:
            yield _page(
                f"{article.title}s",
                0,
                next(numbers),
                f"#REDIRECT [[{article.title}]]",
                article.title,
            )
        if index % 10 == 0:
            yield _page(f"Talk:{article.title}", 1, next(numbers), "Is this sourced? ~~~~")


def _page(title: str, space: int, number: int, text: str, target: str | None = None) -> str:
    redirect = f"    <redirect title={quoteattr(target)} />\n" if target else ""
    return (
        f"  <page>\n    <title>{escape(title)}</title>\n    <ns>{space}</ns>\n    <id>{number}</id>\n{redirect}"
        f"    <revision>\n      <id>{1000 + number}</id>\n      <timestamp>{_TIME}</timestamp>\n"
        "      <contributor>\n        <username>Editor</username>\n        <id>1</id>\n      </contributor>\n"
        "      <model>wikitext</model>\n      <format>text/x-wiki</format>\n"
        f'      <text bytes="{len(text.encode())}" xml:space="preserve">{escape(text)}</text>\n'
        f"      <sha1>{_base36(hashlib.sha1(text.encode()).digest())}</sha1>\n    </revision>\n  </page>\n"
    )


def _wikitext(article: Article) -> str:
    """An article with the markup that real ones have."""
    title, kind = article.title, article.kind
    sections = "\n\n".join(
        f"== {name} ==\n{_noted(sentences)}" for name, sentences in article.sections.items()
    )
    return (
        f"{{{{Short description|One of the {kind}s of the world}}}}\n"
        f"{{{{Infobox {kind}\n| name = {title}\n| image = {title}.jpg\n}}}}\n"
        f"[[File:{title}.jpg|thumb|right|The {kind} in a [[picture]]]]\n"
        f"'''{title}''' is {caption_grammar.an(kind)} [[List of {kind}s|{kind}]]. <!-- lead -->"
        f'{" ".join(article.introduction)}<ref name="a">{{{{cite book|title=The World|year=1912}}}}</ref>\n\n{sections}\n\n'
        f'{{| class="wikitable"\n! Kind !! Name\n|-\n| {kind} || {title}\n|}}\n\n'
        "== See also ==\n* [[World]]\n* [[Picture]]\n\n== References ==\n{{reflist}}\n\n"
        f"[[Category:{kind.capitalize()}s]]\n"
    )


def _noted(sentences: tuple[str, ...]) -> str:
    """A paragraph with a footnote, as a reader must take apart."""
    first, *rest = sentences
    return " ".join([first + "<ref>''Annals'', vol.&nbsp;2.</ref>", *rest])


def _base36(digest: bytes) -> str:
    value, digits = int.from_bytes(digest, "big"), ""
    while value:
        value, digit = divmod(value, 36)
        digits = _DIGITS[digit] + digits
    return digits.rjust(31, "0")
