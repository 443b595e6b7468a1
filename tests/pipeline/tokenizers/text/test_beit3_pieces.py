"""BEiT-3's SentencePiece model with XLM-R's ids."""

from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tokenizers.text import TextTokenizer
from pipeline.tokenizers.text.beit3_pieces import Beit3Pieces
from tests.helpers.released_tokenizers import CAPTION, write_beit3

PIECES = 100
NAMES = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": PIECES + 1}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_beit3(tmp_path_factory.mktemp("beit3"), PIECES)


@pytest.fixture(scope="module")
def tokenizer(path: Path) -> TextTokenizer:
    return TextTokenizer.load(path)


@pytest.fixture(scope="module")
def raw(path: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def test_each_piece_has_the_id_of_the_table(tokenizer: TextTokenizer, raw) -> None:
    assert [raw.id_to_piece(index) for index in range(3)] == ["<unk>", "<s>", "</s>"]
    assert tokenizer.vocab_size == PIECES + 2
    found = {}
    for text in (CAPTION, *CAPTION.split(), *"abcdefghiklmnoprstw", "§"):
        for piece, index in zip(raw.encode(text), tokenizer.bare_ids([text])[0], strict=True):
            found[piece] = index
    assert found[0] == 3 and all(found[piece] == piece + 1 for piece in found if piece)
    assert len(found) > 25 and {1, 2}.isdisjoint(found)
    for index in (4, PIECES):
        assert tokenizer.piece(index) == raw.id_to_piece(index - 1).replace("▁", " ")


def test_sizes_of_the_released_model() -> None:
    class Processor:
        def get_piece_size(self) -> int:
            return 64_000

    reader = Beit3Pieces(Processor())  # type: ignore[arg-type]
    assert (reader.vocab_size, reader.special.mask) == (64_002, 64_001)
    assert (reader.special.begin, reader.special.end) == (0, 2)
    assert reader.special.ordinary == range(4, 64_001)


def test_a_text_is_enclosed_and_truncated(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("horse " * 60, 64)
    assert len(ids) == 64 and (ids[0], ids[-1]) == (0, 2) and min(ids[1:-1]) >= 4
    assert list(tokenizer.encode("", 64)) == [0, 2]
    assert tokenizer.decode(tokenizer.encode(f"{CAPTION}<mask>", 200)) == CAPTION


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(
            st.sampled_from((*NAMES, "<", "< s>", "horse", "§")), st.text("ahor <s>", max_size=5)
        ),
        max_size=8,
    )
)
def test_special_strings_in_a_text_are_special_ids(
    tokenizer: TextTokenizer, raw, parts: list[str]
) -> None:
    text, expected = "".join(parts), []
    while text:
        starts = {name: text.find(name) for name in NAMES if name in text}
        name = min(starts, key=starts.__getitem__, default="")
        end = starts.get(name, len(text))
        expected += [index + 1 if index else 3 for index in raw.encode(text[:end])]
        expected += [NAMES[name]] if name else []
        text = text[end + len(name) :]
    assert tokenizer.bare_ids(["".join(parts)]) == [expected]
