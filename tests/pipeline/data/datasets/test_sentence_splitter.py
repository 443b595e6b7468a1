"""Where sentences end, and that rows of marks cost no more than other text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.datasets.formats import sentence_splitter


@pytest.mark.parametrize(
    "sentences",
    [
        ["Mr. J. Smith of the U.S. Army left.", "He came back!", "Why?", "12 men saw him."],
        ["“Stop!”", "(He did.)", "'So it ends.'", "The end"],
        ["It cost 3.5 pounds, e.g. more than 3.", "A lot."],
        ["Wait...", "What?!", "No!!!"],
    ],
)
def test_ends_of_sentences(sentences):
    assert sentence_splitter.split(" ".join(sentences)) == sentences


@given(st.text("Ab1 .!?\"'“”)(", max_size=60))
def test_no_character_but_blanks_is_lost(text):
    sentences = sentence_splitter.split(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentences)


@pytest.mark.parametrize("unit", ["!", "Mr. A ", ".'", "! ((", "J. ", "x", "?\" '", "."])
def test_time_is_linear(unit):
    """A text of which each part would take hours in quadratic time."""
    text = unit * (1_000_000 // len(unit))
    assert len("".join(sentence_splitter.split(text)).split()) == len(text.split())
