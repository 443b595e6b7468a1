"""Text files of people's own: encodings, ends of lines, and what is no text."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.datasets import bookcorpus
from pipeline.data.datasets.formats import text_files
from pipeline.data.datasets.formats.text_files import NotText
from pipeline.data.records import Rejected
from pipeline.data.sharding import record_reader
from pipeline.errors import UserError

TEXT = "“Don’t stop,” she said — naïve café…\nIt cost £5, née “Zoë”.\n\nAnother paragraph.\n"
LATIN = "She ate crème brûlée\nat the café.\n"
DOS = "The fiancée left the café.\n"


@pytest.mark.parametrize(
    "text, encoding",
    [(TEXT, name) for name in ("utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "mac_roman")]
    + [(TEXT, f"utf-{width}-{order}") for width in (16, 32) for order in ("le", "be")]
    + [("\ufeff" + TEXT, f"utf-{width}-be") for width in (16, 32)]
    + [(LATIN, "latin-1"), (DOS, "cp850"), (DOS, "cp437"), ("Plain.\n", "ascii"), ("", "ascii")],
)
def test_every_encoding_gives_the_same_text(text, encoding, tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes(text.encode(encoding))
    clean = text.removeprefix("\ufeff")
    assert text_files.decode(path.read_bytes()) == clean
    assert list(text_files.lines(path)) == clean.splitlines()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n", "\x85", "\u2028"])
def test_every_end_of_a_line_is_one(end):
    assert text_files.decode(TEXT.replace("\n", end).encode()) == TEXT


def test_lists_may_have_carriage_returns_alone_and_within_lines(tmp_path):
    (tmp_path / "old.tsv").write_bytes(b"one\rtwo\rthree")
    (tmp_path / "new.tsv").write_bytes(b"o\rne\ntwo\n")
    assert list(text_files.lines(tmp_path / "old.tsv")) == ["one", "two", "three"]
    assert list(text_files.lines(tmp_path / "new.tsv")) == ["o\rne", "two"]


@pytest.mark.parametrize("tail", [b"\xc3", b" \xff\xfe ", b"caf\xe9 noir"])
def test_damage_in_utf_8_is_marked_and_harms_no_other_character(tail):
    text = text_files.decode(TEXT.encode() + tail)
    assert text.startswith(TEXT) and "\ufffd" in text


def test_a_file_that_a_full_disk_padded_with_zeros_is_read():
    assert text_files.decode(TEXT.encode() + bytes(9999)) == TEXT
    assert text_files.decode(TEXT.encode() + b"\x1a") == TEXT


@pytest.mark.parametrize(
    "raw, reason",
    [
        (bytes(range(256)) * 4, "unknown encoding"),
        (b"PK\x03\x04" + bytes(range(128)) * 4, "not a text"),
        ("Привет, мир, это книга. ".encode("cp1251") * 9, "unknown encoding"),
        ("你好世界 ".encode("gbk") * 9, "unknown encoding"),
    ],
)
def test_what_is_no_text_is_refused_with_its_reason(raw, reason, tmp_path):
    with pytest.raises(NotText, match=reason):
        text_files.decode(raw)
    (tmp_path / "pg1.txt").write_bytes(raw)
    with pytest.raises(UserError, match=f"pg1.txt: {reason}"):
        list(text_files.lines(tmp_path / "pg1.txt"))
    (rejected,) = record_reader.read("bookcorpus", tmp_path)
    assert isinstance(rejected, Rejected) and rejected.reason.startswith(reason)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_text_without_surrogates_or_refused(raw):
    try:
        text = text_files.decode(raw)
    except NotText:
        return
    text.encode()
    assert "\r" not in text


@given(st.text(st.sampled_from("aZ 9.!’“é£ÉÕ中\U0001f600\u200b\t"), max_size=99))
def test_any_utf_8_is_read_as_it_is(text):
    assert text_files.decode(f"A line.\n{text}".encode()) == f"A line.\n{text}"


def test_lines_are_cut_where_they_are_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "LARGEST", 10)
    monkeypatch.setattr(text_files, "_BLOCK", 5)
    (tmp_path / "list.tsv").write_bytes(b"x" * 25 + b"\nend\n")
    assert list(map(len, text_files.lines(tmp_path / "list.tsv"))) == [10, 10, 5, 3]


@pytest.mark.parametrize(
    "text, clean",
    [
        ("It was _Jack\nSheppard_, the thief.", "It was Jack Sheppard, the thief."),
        ("_One\ntwo\nthree_ and _four_.", "One two three and four."),
        ("Read the _Times_; un_believ_able.", "Read the Times; unbelievable."),
        ("_Never closed, he said.", "Never closed, he said."),
        ("Never opened_, he said _so_.", "Never opened, he said so."),
        ("Mr. ____ met Miss B____ in 18__.", "Mr. ____ met Miss B____ in 18__."),
        ("The file my_notes is here.", "The file my_notes is here."),
        ("_A_ _B_\n_C_ (_D_) “_E_”", "A B C (D) “E”"),
    ],
)
def test_underscores_of_italics_go(text, clean, tmp_path):
    (tmp_path / "pg1.txt").write_text(text)
    (book,) = record_reader.read("bookcorpus", tmp_path)
    assert " ".join(book.sentences) == clean


def test_a_corpus_of_lines_may_have_any_encoding(tmp_path):
    lines = ["the café was quiet .", "she didn’t go ."]
    read = partial(bookcorpus.entries, tmp_path)
    (tmp_path / "books_large_p2.txt").write_bytes(b"")
    for encoding in ("utf-8", "utf-16", "cp1252"):
        (tmp_path / "books_large_p1.txt").write_bytes("\r\n".join(lines).encode(encoding))
        (entry,) = read()
        assert entry.text.split("\n") == lines
