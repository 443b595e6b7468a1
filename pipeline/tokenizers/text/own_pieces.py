"""A SentencePiece model trained here, with the special ids of VL-BEiT §2.1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.tokenizers.text.reader import Reader, SpecialIds

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

# Control symbols: no raw text is ever encoded as one of them, except [UNK].
SPECIAL_IDS = {"[T_CLS]": 0, "[PAD]": 1, "[T_SEP]": 2, "[UNK]": 3, "[MASK]": 4}


class OwnPieces(Reader):
    """The ids are those of the model."""

    FILE = "spm.model"
    ABOUT = "SentencePiece model"
    FIRST = tuple(SPECIAL_IDS)  # pieces of the model

    def __init__(self, processor: SentencePieceProcessor):
        self.processor = processor
        self.vocab_size = processor.get_piece_size()
        self.special = SpecialIds(
            SPECIAL_IDS["[T_CLS]"],
            SPECIAL_IDS["[T_SEP]"],
            SPECIAL_IDS["[MASK]"],
            range(len(SPECIAL_IDS), self.vocab_size),
        )

    def ids(self, text: str) -> list[int]:
        """The ids of a text."""
        return self.processor.encode(text)

    def piece(self, token_id: int) -> str:
        """The text of one id, with a leading space where it begins a word."""
        return self.processor.id_to_piece(token_id).replace("▁", " ")

    def text(self, ids: Sequence[int]) -> str:
        """The text of ordinary ids."""
        return self.processor.decode(list(ids))
