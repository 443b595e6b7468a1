"""How readers treat texts that are no UTF-8, hold control characters, are empty, too long or
repeated."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data import records
from pipeline.data.datasets import cc3m
from pipeline.data.records import ImageRecord, Rejected, TextRecord, captioned, document, tidy
from pipeline.data.sharding import record_reader
from pipeline.data.sharding.build import ShardParams, shard
from pipeline.data.shards import parquet
from tests.pipeline.data.datasets.test_readers import karpathy, write_zip


@pytest.mark.parametrize(
    "text, clean",
    [
        ("  two\t boats \n at sea ", "two boats at sea"),
        ("a\x00b\x07c\x7f\x9f", "abc"),
        ("\ufeffzero\u200bwidth\xad", "zerowidth"),
        ("\u202eright to left\u202c", "right to left"),
        ("line\u2028break\x85here\x1c!", "line break here !"),
        ("caf\u00e9 \U0001f600 \u4e2d", "caf\u00e9 \U0001f600 \u4e2d"),
        ("\x00\u200b ", ""),
    ],
)
def test_control_characters_and_white_space(text, clean):
    assert tidy(text) == clean == tidy(clean)


def test_unusable_captions_are_left_out_with_their_reason():
    longest = "x" * records.LONGEST
    texts = [
        "A boat.",
        "",
        "\x00",
        "caf\ufffd",
        "half \ud800 pair",
        longest,
        longest + "x",
        "A boat.",
    ]
    assert list(captioned("k", "train", b"p", texts)) == [
        Rejected("k#1", "empty caption"),
        Rejected("k#2", "empty caption"),
        Rejected("k#3", "damaged caption"),
        Rejected("k#4", "damaged caption"),
        Rejected("k#6", "over-long caption"),
        ImageRecord("k", "train", b"p", ("A boat.", longest, "A boat."), -1),
    ]
    assert list(captioned("k", "train", b"p", [" "])) == [
        Rejected("k#0", "empty caption"),
        Rejected("k", "no caption"),
    ]


@pytest.mark.parametrize(
    "text, clean",
    [
        ("salt &amp; pepper", "salt & pepper"),
        ("salt &amp;amp; pepper", "salt & pepper"),
        ("it&#39;s&nbsp;&quot;here&quot;", 'it\'s "here"'),
        ("a&#x2019;b &hellip; &lt;b&gt;", "a\u2019b \u2026 <b>"),
        ("A&B R&D &c. 5 & 6; AT&T;", "A&B R&D &c. 5 & 6; AT&T;"),
        ("line&#10;break &#8203;&shy;here&#x7;", "line break here"),
        ("&" * 900, "&" * 900),
    ],
)
def test_entities_become_characters_in_what_annotators_and_web_pages_wrote(text, clean):
    assert records.annotation_text(text) == clean
    (record,) = captioned("k", "train", b"p", [text])
    assert record.captions == (clean,)


@given(st.text("&#x0123456789;ampltgnbsq \x00\u200b", max_size=80) | st.text(max_size=80))
def test_any_caption_is_clean_or_rejected(text):
    for record in captioned("k", "train", b"p", [text]):
        if isinstance(record, ImageRecord):
            assert tidy(record.captions[0]) == record.captions[0] != ""


def test_numbers_that_no_character_has_are_no_fault():
    assert records.annotation_text("&#" + "9" * 9999 + ";").startswith("&#999")
    assert list(captioned("k", "train", b"p", ["&#xD800; and &#0;"])) == [
        Rejected("k#0", "damaged caption"),
        Rejected("k", "no caption"),
    ]


def test_unusable_sentences_are_left_out_with_their_reason():
    longest = "x" * records.LONGEST_SENTENCE
    assert list(document("k", "train", ["One.", "\ufffd", longest, longest + "x"])) == [
        Rejected("k#1", "damaged sentence"),
        Rejected("k#3", "over-long sentence"),
        TextRecord("k", "train", ("One.", longest)),
    ]
    assert list(document("k", "train", [])) == [Rejected("k", "no prose")]


def test_a_list_that_is_not_utf8_loses_a_caption_and_no_line(tmp_path):
    (tmp_path / "list.tsv").write_bytes(
        b"a b\xe9\thttp://a.example/1\nfine\thttp://a.example/2\n\xff\xfe\n"
        + "caf\u00e9 na\u00efve \u201chere\u201d \u2013\u2014\n".encode()
    )
    rows = list(cc3m.rows(tmp_path / "list.tsv", "train"))
    assert [row.url for row in rows] == ["http://a.example/1", "http://a.example/2", "", ""]
    assert next(captioned("k", "train", b"p", [rows[0].caption])) == Rejected(
        "k#0", "damaged caption"
    )


def test_json_can_spell_what_is_no_text(tmp_path):
    for name in ("train2014", "val2014"):
        write_zip(tmp_path / f"{name}.zip", {f"{name}/COCO_{name}_000000000001.jpg": b"p"})
    split = karpathy(
        "coco", [("train2014", "COCO_train2014_000000000001.jpg", "train", ["\ud800", "Fine."])]
    )
    assert b"\\ud800" in split
    write_zip(tmp_path / "caption_datasets.zip", {"dataset_coco.json": split})
    assert list(record_reader.read("coco", tmp_path)) == [
        Rejected("COCO_train2014_000000000001#0", "damaged caption"),
        ImageRecord("COCO_train2014_000000000001", "train", b"p", ("Fine.",), -1, ("coco 1",)),
    ]


def test_bad_lines_of_a_corpus_are_counted(tmp_path):
    calm = "the sea at caf\u00e9 \u00c9t\u00e9 was calm ."
    lines = [calm.encode(), b"caf\xe9 noir .", b"", b"\x00\x07", b"a" * 6000, b"the end ."]
    (tmp_path / "books_large_p1.txt").write_bytes(b"\n".join(lines))
    (tmp_path / "books_large_p2.txt").write_bytes(b"")
    counts = shard("bookcorpus", tmp_path, tmp_path / "out", ShardParams(2, 2, 0.0))
    (row,) = parquet.read_rows(tmp_path / "out", "train")
    assert row["sentences"] == [calm, "the end ."] and counts["rejected"] == 3
    rejected = json.loads((tmp_path / "out/index.json").read_text())["rejected"]
    assert rejected == {"damaged sentence": 1, "empty sentence": 1, "over-long sentence": 1}
