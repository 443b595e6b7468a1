"""BEiT-3's SentencePiece model, whose pieces have the ids that XLM-R's tokenizer gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.tokenizers.text.reader import Reader, SpecialIds

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

_SHIFT = 1  # of ordinary pieces: `<pad>` stands before them, and the model does not have it
_SPECIAL_IDS = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}


class Beit3Pieces(Reader):
    """Ids 0 to 3 are `<s> <pad> </s> <unk>`, the last is `<mask>`; between them are the model's
    pieces from its fourth, each one up. In a text these five strings are special ids, as in the
    original: SentencePiece would spell them out."""

    FILE = "beit3.spm"
    ABOUT = "SentencePiece model, read with the ids of XLM-R"
    FIRST = ("<unk>", "<s>", "</s>")  # pieces of the model

    def __init__(self, processor: SentencePieceProcessor):
        self.processor = processor
        mask = processor.get_piece_size() + _SHIFT
        self.vocab_size = mask + 1
        self.special = SpecialIds(
            _SPECIAL_IDS["<s>"], _SPECIAL_IDS["</s>"], mask, range(len(_SPECIAL_IDS), mask)
        )
        self._named = _SPECIAL_IDS | {"<mask>": mask}
        self._names = re.compile(f"({'|'.join(self._named)})")

    def ids(self, text: str) -> list[int]:
        """The ids of a text."""
        ids: list[int] = []
        for part in self._names.split(text):
            ids += [self._named[part]] if part in self._named else self._shifted(part)
        return ids

    def piece(self, token_id: int) -> str:
        """The text of one id, with a leading space where it begins a word; empty for a special
        one."""
        if token_id not in self.special.ordinary:
            return ""
        return self.processor.id_to_piece(token_id - _SHIFT).replace("▁", " ")

    def text(self, ids: Sequence[int]) -> str:
        """The text of ordinary ids."""
        return self.processor.decode([token_id - _SHIFT for token_id in ids])

    def _shifted(self, text: str) -> list[int]:
        unknown = _SPECIAL_IDS["<unk>"]  # the model's 0
        return [index + _SHIFT if index else unknown for index in self.processor.encode(text)]
