"""What becomes of templates in sentences, and what markup without an end costs."""

import bz2
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.datasets.formats.wikitext import names, open_marks, prose, templates
from pipeline.data.datasets.formats.wikitext.prose import NotProse, paragraphs
from pipeline.data.records import HOLE, Rejected, TextRecord
from pipeline.data.sharding import record_reader
from tests.pipeline.data.datasets.test_readers import PAGE

LIMIT = prose._LARGEST_COST


@pytest.mark.parametrize(
    "call, text",
    [
        ("{{convert|100|km|mi}}", "100 kilometres"),
        ("{{convert|1|mi}}", "1 mile"),
        ("{{convert|142000|km2|abbr=on}}", "142,000 km²"),
        ("{{cvt|6|ft|1|in|m}}", "6 ft 1 in"),
        ("{{convert|-5|to|10|C|F}}", "−5 to 10 °C"),
        ("{{Convert|2.3|Moilbbl/d}}", "2.3 million barrels per day"),
        ("{{convert|3|e6acre|sp=us}}", "3 million acres"),
        ("{{convert|10|m|ft|sp=us}}", "10 meters"),
        ("{{convert|5|acre|ha|adj=on}}", "5-acre"),
        ("{{convert|1+1/2|in|mm}}", "1 1/2 inches"),
        ("{{convert|1|parsnip}}", HOLE),
        ("{{convert|1|km|disp=out}}", HOLE),
        ("{{convert}}", HOLE),
        ("{{formatnum:1234567.5}}", "1,234,567.5"),
        ("{{lang|fr|Mont Blanc}}", "Mont Blanc"),
        ("{{Lang-fr|Mont Blanc}}", "French: Mont Blanc"),
        ("{{langx|grc-Latn|logos}}", "Ancient Greek: logos"),
        ("{{langx|fr|logos|label=none}}", "logos"),
        ("{{transl|grc|ISO|logos}}", "logos"),
        ("{{nowrap|5 '''June'''}}", "5 June"),
        ("5{{nbsp}}June{{snd}}{{mdash}}6", "5 June – —6"),
        ("{{circa|1900}}", "c. 1900"),
        ("{{c.|1900|1910}}", "c. 1900 – c. 1910"),
        ("{{floruit|1900|1910}}", "fl. 1900–1910"),
        ("{{birth date and age|1912|4|23|mf=yes}}", "April 23, 1912"),
        ("{{death date|df=yes|1912|4|3}}", "3 April 1912"),
        ("{{start date|1912|04}}", "April 1912"),
        ("{{birth date|1912|99|1}}", HOLE),
        ("{{As of|2013|June|8}}", "As of 8 June 2013"),
        ("{{as of|2013|lc=y}}", "as of 2013"),
        ("{{frac|3|1|2}}", "3 1/2"),
        ("{{val|1234|0.5|u=kg}}", "1,234 ± 0.5 kg"),
        ("10{{sup|th}} H{{sub|2}}O", "10th H2O"),
        ("{{chem|H|2|O}}", "H2O"),
        ("{{ill|Jean|fr|Jean (peintre)}}", "Jean"),
        ("{{ill|Jean|fr|lt=he}}", "he"),
        ("{{height|ft=6|in=1}}", "6 ft 1 in"),
        ("{{INR}}500", "₹500"),
        ("{{US$|50 million|1990}}", "US$50 million"),
        ("{{currency|5|GBP}}", "£5"),
        ("{{abbr|Mr|Mister}}", "Mr"),
        ("{{sic|wr|nog}}", "wrnog"),
        ("{{HMS|Victory|1765}}", "HMS Victory"),
        ("{{sclass|Nimitz|aircraft carrier}}", "Nimitz-class aircraft carrier"),
        ("{{flag|France}}{{flagicon|FRA}}", "France"),
        ("{{ordinal|22}}", "22nd"),
        ("{{template:NoWrap|{{lang|fr|{{small|{{nowrap|x}}}}}}}}", "x"),
        ("{{color|red|x<ref>{{cite web}}</ref>}}", "x"),
        ("{{no such template|x}}", HOLE),
        ("<math>m</math>", HOLE),
        (
            "x{{citation needed|date=May 2010}}{{r|a|p=3}}{{efn|note}}{{sfn|A|1999}}<ref name=a/>",
            "x",
        ),
        ("x{{dubious}}{{which?}}{{fact-inline}}{{cite web|url=http://a}}", "x"),
    ],
)
def test_templates_in_a_sentence(call, text):
    assert paragraphs(f"The word {call} stands here alone.") == [
        f"The word {text} stands here alone."
    ]


@pytest.mark.parametrize(
    "wikitext, line",
    [
        ("'''A b c''' ({{IPA|x}}; {{lang|fr|y}}; {{z}}, w) is d.", "A b c (y) is d."),
        ("A b ({{IPA|x}}) is d e.", "A b is d e."),
        ("A b ( ; , ) is d e.", "A b is d e."),
        ("A b (c ({{zzz}}) d) is e f.", "A b (c d) is e f."),
        ("The call f() is in main() of it.", "The call f() is in main() of it."),
        ("A b c d.{{zzz}} E f g.{{zzz}}", "A b c d. E f g."),
        ("{{zzz}}{{y}} '''A''' b c d e.", "A b c d e."),
        ("A b c d. {{zzz}} was e f.", f"A b c d. {HOLE} was e f."),
        ("A b {{c|d is e f g.", f"A b {HOLE}c|d is e f g."),
        ("A b [[File:x.png]]c d e.", "A b c d e."),
    ],
)
def test_brackets_and_what_stands_between_sentences(wikitext, line):
    assert paragraphs(wikitext) == [line]


def test_a_quotation_is_a_paragraph():
    text = "He said this to them all: {{quote|The sea was calm on that day.|Ames}}\nThen he went home again."
    assert paragraphs(text) == [
        "He said this to them all:",
        "The sea was calm on that day.",
        "Then he went home again.",
    ]


def test_a_sentence_that_lost_something_is_left_out_and_its_neighbors_are_not(tmp_path):
    text = "It is calm now. It weighs {{unknown|5}} or more. He left.{{unknown}}"
    page = PAGE.format(title="A", ns=0, id=10, extra="", text=text)
    (tmp_path / "enwiki-20220301-pages-articles.xml.bz2").write_bytes(
        bz2.compress(f"<mediawiki>{page}</mediawiki>".encode())
    )
    assert list(record_reader.read("wikipedia", tmp_path)) == [
        Rejected("10#1", "incomplete sentence"),
        TextRecord("10", "train", ("It is calm now.", "He left.")),
    ]


def test_no_template_has_two_meanings():
    groups = [*names.ARGUMENTS.values(), *names.CONSTANTS.values(), *names.JOINED.values()]
    groups += [*names.ENCLOSED.values(), tuple(names.CURRENCIES)]
    groups += [group for _, group in templates._GROUPS]
    everything = [name for group in groups for name in set(group)]
    assert sorted({name for name in everything if everything.count(name) > 1}) == []
    assert [name for name in everything if templates.is_silent(name)] == []
    assert [name for name in everything if templates.normalized(name) != name] == []


ATOMS = [
    "{{",
    "}}",
    "[[",
    "]]",
    "{|",
    "|}",
    "{{{",
    "}}}",
    "<b>",
    "</b>",
    "<b",
    "<ref>",
    "</ref>",
    "<!--",
    "-->",
    "<nowiki>",
    "</nowiki>",
    "<math>",
    "</math>",
    "[http://a",
    "]",
    "<a_b='",
    ">",
    "/>",
    "<li>",
    "*",
    "==",
    "&",
    "&amp;",
    "'''",
    "|",
    "=",
    "|-",
    "!",
    "{{convert|",
    "{{lang|",
    "a",
    "(",
    ")",
    ";",
    ".",
]


@settings(max_examples=150)
@given(st.lists(st.sampled_from([*ATOMS, " ", "\n"]), max_size=40))
def test_any_markup_gives_tidy_lines_or_a_reason(atoms):
    try:
        lines = paragraphs("".join(atoms).replace("_", " "))
    except NotProse:
        return
    assert all(line == " ".join(line.split()) and "{{" not in line for line in lines)


@settings(max_examples=30)
@given(st.lists(st.sampled_from(ATOMS), min_size=1, max_size=4))
def test_markup_that_repeats_is_parsed_at_once_or_refused(atoms):
    """Each unit is repeated so often that quadratic time would be seconds."""
    try:
        paragraphs("".join(atoms).replace("_", " ") * 700)
    except NotProse as error:
        assert str(error) == "too many marks without an end"


@pytest.mark.parametrize(
    "unit",
    ["<a b='", "{{a|b=", "{{", "[[a|", "{|\n|-\n|a\n", "<ref>", '<ref name="a', "[http://a ", "<b>"]
    + ["<!--", "<math>", "{{a|b=<nowiki>}}</nowiki>", "{{a|b=<!--}}-->", "{{a|<b }}", "<li><b>"],
)
def test_marks_without_an_end_are_refused_before_they_are_parsed(unit, monkeypatch):
    def parse(*arguments, **options):
        raise AssertionError("parsed")

    monkeypatch.setattr(prose.mwparserfromhell, "parse", parse)
    with pytest.raises(NotProse, match="too many marks without an end"):
        paragraphs(unit * 5000)


@pytest.mark.parametrize(
    "wikitext",
    [
        "{{a|b={{c}}}} [[d|e [http://f g] h]] {|\n|-\n| i\n|} <b>j</b> <br> <ref name=k /> <ref>l</ref>",
        "{{a|}} [[b|[http://c d]]] <li>e <li>f <nowiki>{{ [[</nowiki> <math>\\frac{{a}{b}</math>",
    ],
)
def test_markup_that_ends_costs_nothing(wikitext):
    assert not open_marks.are_costly(wikitext * 5000, LIMIT)
    assert open_marks.are_costly("{{" * 100 + wikitext * 5000, LIMIT)


def test_lines_that_look_like_entities_are_no_fault():
    text = "&#1114112; &#xD800; &#0; &#" + "9" * 5000 + "; &bogus; a b c d e"
    assert re.search("a b c d e$", paragraphs(text)[0])
