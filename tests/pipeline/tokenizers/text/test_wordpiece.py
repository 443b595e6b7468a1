"""WordPiece: BERT's rules, written down here once more, and lists that are none."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.tokenizers.text import TextTokenizer
from tests.helpers.released_tokenizers import CAPTION, SPECIAL, bert_pieces, write_bert

IDS = {piece: index for index, piece in enumerate(bert_pieces("red riding re rid"))}
CJK = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))
# What Unicode 3.2 knew, which all versions read alike; four characters became something else.
KNOWN = [
    character
    for character in map(chr, (*range(0x3500), *range(0x9F00, 0xA500), *range(0xF900, 0xFFFE)))
    if unicodedata.ucd_3_2_0.category(character) != "Cn"
    and character not in "\u166d\u1734\u1885\u1886"
]


def is_punctuation(character: str) -> bool:
    is_ascii_mark = "!" <= character <= "~" and not character.isalnum()
    return is_ascii_mark or unicodedata.category(character).startswith("P")


def apart(character: str) -> str:
    """A character, with blanks around it where it is a word of its own."""
    is_cjk = any(first <= ord(character) <= last for first, last in CJK)
    return f" {character} " if is_cjk or is_punctuation(character) else character


def words(text: str) -> list[str]:
    shown = []
    for character in text:
        if character in "\t\n\r":
            shown.append(" ")
        elif character != "\ufffd" and not unicodedata.category(character).startswith("C"):
            shown.append(character)
    bare = unicodedata.normalize("NFD", "".join(shown).lower())
    return "".join(apart(each) for each in bare if unicodedata.category(each) != "Mn").split()


def pieces(word: str) -> list[str]:
    """Greedy: the longest piece that a word begins with, then the longest that its rest does."""
    found: list[str] = []
    start = 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if prefix + word[start:end] in IDS), None)
        if end is None:
            return ["[UNK]"]
        found.append(prefix + word[start:end])
        start = end
    return found if len(word) <= 100 else ["[UNK]"]


def expected(text: str) -> Iterator[int]:
    for part in re.split(f"({'|'.join(map(re.escape, SPECIAL))})", text):
        if part in SPECIAL:
            yield IDS[part]
            continue
        for word in words(part):
            yield from (IDS[piece] for piece in pieces(word))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return TextTokenizer.load(write_bert(tmp_path_factory.mktemp("bert"), "red riding re rid"))


@settings(max_examples=300)
@given(
    st.lists(
        st.one_of(
            st.sampled_from((*SPECIAL, "[mask]", "Red", "RIDING", "ridings", "é", "中", " ", "-x")),
            st.text(st.sampled_from("abrRdeIi'.[]#- \t\u00a0\u0301\u0130ß"), max_size=8),
        ),
        max_size=8,
    ).map("".join)
)
def test_texts_become_ids_by_berts_rules(tokenizer: TextTokenizer, text: str) -> None:
    assert tokenizer.bare_ids([text]) == [list(expected(text))]


def test_every_character_is_cleaned_split_and_lower_cased_alike(tokenizer: TextTokenizer) -> None:
    assert len(KNOWN) > 12_000
    found = tokenizer.bare_ids([f"ab{character}re" for character in KNOWN])
    differing = [
        character
        for character, ids in zip(KNOWN, found, strict=True)
        if ids != list(expected(f"ab{character}re"))
    ]
    assert differing == []


def test_ids_of_bert_base_uncased(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("red [PAD] [UNK] [CLS] [SEP] [MASK]", 40)
    assert list(ids) == [101, IDS["red"], 0, 100, 101, 102, 103, 102]
    special = tokenizer.special
    assert (special.begin, special.end, special.mask, special.ordinary.start) == (
        101,
        102,
        103,
        104,
    )
    assert IDS["!"] == 999 == special.ordinary.index(999) + 104


def test_a_long_text_keeps_its_end(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("red " * 60, 40)
    assert list(ids) == [101, *[IDS["red"]] * 38, 102]
    assert list(tokenizer.encode("", 40)) == [101, 102]


@pytest.mark.parametrize(("length", "unknown"), [(100, False), (101, True)])
def test_a_word_of_more_than_100_characters_is_unknown(
    tokenizer: TextTokenizer, length: int, unknown: bool
) -> None:
    assert (tokenizer.bare_ids(["a" * length]) == [[100]]) == unknown


def test_ids_become_words_again(tokenizer: TextTokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("Reds, RIDING [MASK]!", 40)) == "reds , riding !"
    assert tokenizer.piece(IDS["##s"]) == "s" and tokenizer.piece(IDS["red"]) == " red"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("[SEP]\n", ""), "no line [SEP]"),
        (lambda text: text.replace("[CLS]\n", "[cls]\n"), "no line [CLS]"),
        (lambda text: text + "red\n", "'red' again, as in line "),
        (lambda text: text + "\nmore\n\n", "'more' again"),
        (lambda text: text + "A\n", "cased model; get that of bert-base-uncased"),
        (lambda text: '{"model": 1}', "no line [PAD]"),
        (lambda text: "", "no line [PAD]"),
        (lambda text: text + "".join(f"x{n}\n" for n in range(1 << 16)), "at most 65,536"),
    ],
    ids=range(8),
)
def test_lists_of_something_else_are_refused(tmp_path: Path, change, message: str) -> None:
    path = write_bert(tmp_path)
    path.write_text(change(path.read_text() + ("more\n" if "more" in message else "")))
    with pytest.raises(UserError, match=f"vocab.txt: .*{re.escape(message)}") as caught:
        TextTokenizer.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [lambda data: data.replace(b"\n", b"\r\n"), bytes.rstrip])
def test_line_ends_do_not_matter(tmp_path: Path, change) -> None:
    path = write_bert(tmp_path)
    before = TextTokenizer.load(path)
    path.write_bytes(change(path.read_bytes()))
    after = TextTokenizer.load(path)
    assert after.vocab_size == before.vocab_size
    assert list(after.encode(CAPTION, 40)) == list(before.encode(CAPTION, 40))
