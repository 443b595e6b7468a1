"""Which kind of file reads a model's texts, beside the model and wherever it goes."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.tokenizers import text
from pipeline.tokenizers.text import TextTokenizer
from pipeline.tokenizers.text.beit3_pieces import Beit3Pieces
from pipeline.tokenizers.text.own_pieces import OwnPieces
from pipeline.tokenizers.text.wordpiece import WordPiece
from tests.helpers.doc_examples import write_tokenizer
from tests.helpers.released_tokenizers import CAPTION, write_beit3, write_bert


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[type, Path]:
    """A file of each kind."""
    root = tmp_path_factory.mktemp("tokenizers")
    write_tokenizer(root / "own")
    return {
        OwnPieces: root / "own/spm.model",
        Beit3Pieces: write_beit3(root),
        WordPiece: write_bert(root),
    }


@pytest.mark.parametrize("kind", [OwnPieces, Beit3Pieces, WordPiece])
def test_a_file_tells_its_kind(paths: dict[type, Path], tmp_path: Path, kind: type) -> None:
    renamed = (tmp_path / "other name").with_suffix(paths[kind].suffix)
    renamed.write_bytes(paths[kind].read_bytes())
    tokenizer = TextTokenizer.load(renamed)
    assert type(tokenizer.reader) is kind
    sent = pickle.loads(pickle.dumps(tokenizer))  # to the workers of a loader
    for sentence in (CAPTION, "", "[MASK] <mask>"):
        assert list(sent.encode(sentence, 40)) == list(tokenizer.encode(sentence, 40))


def test_a_folder_has_the_tokenizer_that_was_put_there_last(
    paths: dict[type, Path], tmp_path: Path
) -> None:
    assert text.in_folder(tmp_path) is None and text.in_folder(tmp_path / "none") is None
    for kind, name in (
        (WordPiece, "vocab.txt"),
        (OwnPieces, "spm.model"),
        (Beit3Pieces, "beit3.spm"),
    ):
        text.put_into(tmp_path, paths[kind])
        assert [path.name for path in tmp_path.iterdir()] == [name]
        assert text.in_folder(tmp_path) == tmp_path / name
        assert (tmp_path / name).read_bytes() == paths[kind].read_bytes()
    text.put_into(tmp_path, tmp_path / "beit3.spm")  # the same, as a model that goes on training
    assert (tmp_path / "beit3.spm").read_bytes() == paths[Beit3Pieces].read_bytes()


def test_two_tokenizers_in_a_folder_are_refused(paths: dict[type, Path], tmp_path: Path) -> None:
    for kind in (WordPiece, OwnPieces):
        (tmp_path / paths[kind].name).write_bytes(paths[kind].read_bytes())
    with pytest.raises(UserError, match="spm.model and vocab.txt: leave the one"):
        text.in_folder(tmp_path)


@pytest.mark.parametrize("kind", [OwnPieces, Beit3Pieces, WordPiece])
def test_more_ids_than_embeddings_are_refused(paths: dict[type, Path], kind: type) -> None:
    size = TextTokenizer.load(paths[kind]).vocab_size
    assert TextTokenizer.load_for(paths[kind], size + 8).vocab_size == size
    with pytest.raises(UserError, match="embeddings of"):
        TextTokenizer.load_for(paths[kind], size - 1)


def test_a_sentencepiece_model_with_other_first_pieces_is_refused(
    paths: dict[type, Path], tmp_path: Path
) -> None:
    data = paths[Beit3Pieces].read_bytes().replace(b"\n\x03<s>", b"\n\x03<q>")
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(UserError, match=r"are not \[T_CLS\] .* or <unk> <s> </s>$"):
        TextTokenizer.load(tmp_path / "m")


@settings(max_examples=40)
@given(st.binary(max_size=60), st.integers(0, 1 << 20), st.sampled_from([".txt", ".spm", ".model"]))
def test_any_bytes_are_a_tokenizer_or_an_error_for_people(
    paths: dict[type, Path], tmp_path_factory, data: bytes, place: int, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"any{suffix}"
    kind = {".txt": WordPiece, ".spm": Beit3Pieces, ".model": OwnPieces}[suffix]
    whole = paths[kind].read_bytes()
    place %= min(len(whole), 2000)  # the rest are rules of Unicode
    for content in (data, whole[:place] + data + whole[place + len(data) :], whole[: -place - 1]):
        path.write_bytes(content)
        try:
            TextTokenizer.load(path).encode(CAPTION, 40)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
