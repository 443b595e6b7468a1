"""Texts as token ids: a SentencePiece model with the special ids of VL-BEiT §2.1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import UserError

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

# Control symbols: no raw text is ever encoded as one of them, except [UNK].
SPECIAL_IDS = {"[T_CLS]": 0, "[PAD]": 1, "[T_SEP]": 2, "[UNK]": 3, "[MASK]": 4}


@dataclass(frozen=True)
class TextTokenizer:
    """Texts to ids in [0, vocab_size) and back."""

    processor: SentencePieceProcessor

    @classmethod
    def load(cls, path: Path) -> TextTokenizer:
        """Read a model file. Raises UserError where it is missing, damaged or has other special
        ids."""
        from sentencepiece import SentencePieceProcessor

        if not path.exists():
            raise UserError(f"{path}: not found; run the text_tokenizer stage")
        try:
            processor = SentencePieceProcessor(model_proto=path.read_bytes())
        except RuntimeError:
            raise UserError(f"{path}: not a SentencePiece model") from None
        if [processor.id_to_piece(index) for index in SPECIAL_IDS.values()] != list(SPECIAL_IDS):
            raise UserError(f"{path}: its first ids are not {' '.join(SPECIAL_IDS)}")
        return cls(processor)

    @classmethod
    def load_for(cls, path: Path, vocab_size: int) -> TextTokenizer:
        """Read a model file for a network with `vocab_size` embeddings. Raises UserError as `load`,
        or where it has more ids than there are embeddings."""
        tokenizer = cls.load(path)
        if tokenizer.vocab_size > vocab_size:
            raise UserError(
                f"{path}: has {tokenizer.vocab_size:,} ids, the model has embeddings of "
                f"{vocab_size:,}; use the tokenizer that it was trained with"
            )
        return tokenizer

    @property
    def vocab_size(self) -> int:
        """Number of ids, special ones included."""
        return self.processor.get_piece_size()

    def bare_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special ids. Texts are encoded one by one: for a list
        SentencePiece starts threads, which takes six times as long for the sentences of a
        document."""
        return [self.processor.encode(text) for text in texts]

    def encode(self, text: str, max_length: int) -> np.ndarray:
        """[T_CLS] ... [T_SEP], uint16 [length], length <= max_length: a longer text is truncated,
        but keeps its [T_SEP]."""
        return add_special_ids(self.processor.encode(text)[: max_length - 2])

    def piece(self, token_id: int) -> str:
        """The text of one id, with a leading space where it begins a word."""
        return self.processor.id_to_piece(token_id).replace("▁", " ")

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of ids; special ids are left out."""
        special = set(SPECIAL_IDS.values())
        return self.processor.decode([index for index in map(int, ids) if index not in special])


def add_special_ids(ids: Sequence[int]) -> np.ndarray:
    """[T_CLS] ids [T_SEP], uint16 [length + 2]."""
    return np.array([SPECIAL_IDS["[T_CLS]"], *ids, SPECIAL_IDS["[T_SEP]"]], dtype=np.uint16)
