"""What a kind of tokenizer file has to tell."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple


class SpecialIds(NamedTuple):
    """Ids that are no part of a text. `ordinary`: those that are, without the one for what is
    unknown. Padding has no place here: it is masked, whatever its id."""

    begin: int
    end: int
    mask: int
    ordinary: range


class Reader(ABC):
    """Texts to ids in [0, vocab_size), without those that begin and end a text, and back."""

    FILE: ClassVar[str]  # its name in the folder of a model
    ABOUT: ClassVar[str]  # what the file is, for people
    special: SpecialIds
    vocab_size: int  # special ids included

    @abstractmethod
    def ids(self, text: str) -> list[int]:
        """The ids of a text."""

    @abstractmethod
    def piece(self, token_id: int) -> str:
        """The text of one id, with a leading space where it begins a word."""

    @abstractmethod
    def text(self, ids: Sequence[int]) -> str:
        """The text of ordinary ids."""
