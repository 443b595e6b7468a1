"""WordPiece as BERT's uncased models have it, from their list of pieces."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UserError
from pipeline.tokenizers.text.reader import Reader, SpecialIds

_UNKNOWN, _CONTINUED = "[UNK]", "##"
_SPECIAL = ("[PAD]", _UNKNOWN, "[CLS]", "[SEP]", "[MASK]")
_LONGEST_WORD = 100  # characters; a longer one is unknown


class WordPiece(Reader):
    """The id of a piece is its line, from 0. In a text the names of the five special pieces are
    their ids, as in the original.

    Raises:
        UserError: the file is no list of pieces, or that of a cased model.
    """

    FILE = "vocab.txt"
    ABOUT = "WordPiece list"

    def __init__(self, path: Path):
        from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

        ids = _read(path)
        self._pieces = list(ids)
        self.vocab_size = len(ids)
        ordinary = range(1 + max(ids[name] for name in _SPECIAL), len(ids))
        self.special = SpecialIds(ids["[CLS]"], ids["[SEP]"], ids["[MASK]"], ordinary)
        self._tokenizer = Tokenizer(
            models.WordPiece(
                vocab=ids,
                unk_token=_UNKNOWN,
                continuing_subword_prefix=_CONTINUED,
                max_input_chars_per_word=_LONGEST_WORD,
            )
        )
        self._tokenizer.normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True
        )
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._tokenizer.add_special_tokens(
            [AddedToken(name, special=True, normalized=False) for name in _SPECIAL]
        )

    def ids(self, text: str) -> list[int]:
        """The ids of a text."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def piece(self, token_id: int) -> str:
        """The text of one id, with a leading space where it begins a word."""
        piece = self._pieces[token_id]
        continued = piece.startswith(_CONTINUED)
        return piece.removeprefix(_CONTINUED) if continued else f" {piece}"

    def text(self, ids: Sequence[int]) -> str:
        """The text of ordinary ids, with a space before each word and each punctuation mark."""
        return "".join(map(self.piece, ids)).strip()


def _read(path: Path) -> dict[str, int]:
    """The id of each piece, in order of the ids."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a list of WordPiece's pieces: {error}") from None
    pieces = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    ids: dict[str, int] = {}
    for number, piece in enumerate(pieces):
        if piece in ids:
            first = ids[piece] + 1
            raise UserError(f"{path}: line {number + 1}: {piece!r} again, as in line {first}")
        ids[piece] = number
    if missing := [name for name in _SPECIAL if name not in ids]:
        raise UserError(f"{path}: not a list of WordPiece's pieces: no line {missing[0]}")
    if "A" in ids:
        raise UserError(f"{path}: the list of a cased model; get that of bert-base-uncased")
    return ids
