"""Texts as token ids, whatever kind of file a model's texts are read with.

A file ending in `.txt` is a WordPiece list; of SentencePiece models the first pieces tell whether
it is one that was trained here or BEiT-3's.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import UserError
from pipeline.tokenizers.text.beit3_pieces import Beit3Pieces
from pipeline.tokenizers.text.own_pieces import OwnPieces
from pipeline.tokenizers.text.reader import Reader, SpecialIds
from pipeline.tokenizers.text.wordpiece import WordPiece
from pipeline.utils import files

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

# Names in the folders of models, each with what the file is.
FILES = {kind.FILE: kind.ABOUT for kind in (OwnPieces, Beit3Pieces, WordPiece)}
MAX_VOCAB_SIZE = 1 << 16  # ids are stored as uint16


@dataclass(frozen=True)
class TextTokenizer:
    """Texts to ids in [0, vocab_size) and back."""

    reader: Reader

    @classmethod
    def load(cls, path: Path) -> TextTokenizer:
        """Read a tokenizer file. Raises UserError where it is missing, damaged or of no kind that
        is known."""
        tokenizer = cls(_reader(path))
        if tokenizer.vocab_size > MAX_VOCAB_SIZE:
            raise UserError(
                f"{path}: has {tokenizer.vocab_size:,} ids, at most {MAX_VOCAB_SIZE:,} can be stored"
            )
        return tokenizer

    @classmethod
    def load_for(cls, path: Path, vocab_size: int) -> TextTokenizer:
        """Read a tokenizer file for a network with `vocab_size` embeddings. Raises UserError as
        `load`, or where it has more ids than there are embeddings."""
        tokenizer = cls.load(path)
        if tokenizer.vocab_size > vocab_size:
            raise UserError(
                f"{path}: has {tokenizer.vocab_size:,} ids, the model has embeddings of "
                f"{vocab_size:,}; use the tokenizer that it was trained with"
            )
        return tokenizer

    @property
    def special(self) -> SpecialIds:
        """The ids that are no part of a text."""
        return self.reader.special

    @property
    def vocab_size(self) -> int:
        """Number of ids, special ones included."""
        return self.reader.vocab_size

    def bare_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without those that begin and end it. Texts are encoded one by one:
        for a list SentencePiece starts threads, which takes six times as long for the sentences of
        a document."""
        return [self.reader.ids(text) for text in texts]

    def encode(self, text: str, max_length: int) -> np.ndarray:
        """The id that begins a text, its own, the id that ends it: uint16 [length], length <=
        max_length: a longer text is truncated, but keeps its end."""
        return self.enclosed(self.reader.ids(text)[: max_length - 2])

    def enclosed(self, ids: Sequence[int]) -> np.ndarray:
        """Ids between those that begin and end a text, uint16 [length + 2]."""
        return np.array([self.special.begin, *ids, self.special.end], dtype=np.uint16)

    def piece(self, token_id: int) -> str:
        """The text of one id, with a leading space where it begins a word."""
        return self.reader.piece(token_id)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of ids; special ids are left out."""
        ordinary = self.special.ordinary
        return self.reader.text([index for index in map(int, ids) if index in ordinary])


def in_folder(folder: Path) -> Path | None:
    """The tokenizer file that a model has beside it, None where it has none.

    Raises:
        UserError: there are several.
    """
    found = [name for name in FILES if (folder / name).exists()]
    if len(found) > 1:
        raise UserError(f"{folder}: {' and '.join(found)}: leave the one that the model belongs to")
    return folder / found[0] if found else None


def of_scale(scale: str) -> Path:
    """The tokenizer file of a scale's own pretraining, as the stage text_tokenizer leaves it."""
    folder = Path("data", scale, "text_tokenizer")
    return in_folder(folder) or folder / OwnPieces.FILE


def put_into(folder: Path, path: Path) -> None:
    """Copy a tokenizer file into the folder of a model, under the name that its kind has there,
    in place of any other. Raises UserError as `TextTokenizer.load`."""
    name = TextTokenizer.load(path).reader.FILE
    with files.replacing(folder / name) as temporary:
        shutil.copyfile(path, temporary)
    for other in set(FILES) - {name}:
        (folder / other).unlink(missing_ok=True)


def _reader(path: Path) -> Reader:
    if not path.exists():
        raise UserError(f"{path}: not found; run the stage that makes it")
    if path.suffix == ".txt":
        return WordPiece(path)
    try:
        processor, first = _sentencepiece(path.read_bytes())
    except (RuntimeError, ValueError):  # it may be one whose pieces are not UTF-8
        raise UserError(f"{path}: not a SentencePiece model") from None
    for kind in (OwnPieces, Beit3Pieces):
        if first[: len(kind.FIRST)] == kind.FIRST:
            return kind(processor)
    expected = f"{' '.join(OwnPieces.FIRST)} or {' '.join(Beit3Pieces.FIRST)}"
    raise UserError(f"{path}: its first ids are not {expected}")


def _sentencepiece(data: bytes) -> tuple[SentencePieceProcessor, tuple[str, ...]]:
    """A model, and its first pieces. Raises RuntimeError or ValueError where it is none."""
    from sentencepiece import SentencePieceProcessor

    if not data:  # of nothing it makes a model that fails later
        raise ValueError("empty")
    processor = SentencePieceProcessor(model_proto=data)
    known = min(len(OwnPieces.FIRST), processor.get_piece_size())
    return processor, tuple(map(processor.id_to_piece, range(known)))
