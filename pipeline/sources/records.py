"""What a source's reader yields."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class ImageRecord:
    """A picture as it was distributed, not yet decoded."""

    key: str  # unique within the source, and the same whenever the source is read
    split: Split  # "train" where the source has no official split
    image: bytes
    captions: tuple[str, ...]
    label: int  # class index, -1 where the source has no classes


@dataclass(frozen=True)
class TextRecord:
    """One document."""

    key: str
    split: Split
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question about a picture. `answers` has ten annotators' answers, or none where they are not published."""

    id: int
    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class QuestionsRecord:
    """A picture with its questions."""

    key: str
    split: Split
    image: bytes
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class StatementRecord:
    """A statement about two pictures, true (label 1) or false (0). `group`: equal for examples of one statement."""

    key: str
    split: Split
    left: bytes
    right: bytes
    statement: str
    label: int
    group: str


@dataclass(frozen=True)
class MaskRecord:
    """A picture and the class of each of its pixels, as a PNG of mode L and of the picture's size; 0: no class."""

    key: str
    split: Split
    image: bytes
    mask: bytes


@dataclass(frozen=True)
class UrlRow:
    """One line of a list of URLs; `url` is empty where the line is damaged."""

    key: str
    split: Split
    url: str
    caption: str


@dataclass(frozen=True)
class Rejected:
    """A record, or a caption `<key>#<number>`, that is left out. The reason is `kind` or `kind: detail`."""

    key: str
    reason: str


def tidy(text: str) -> str:
    """Stripped, with every run of white space as one blank."""
    return " ".join(text.split())


def captioned(key: str, split: Split, image: bytes, captions: Iterable[str]) -> Iterator[ImageRecord | Rejected]:
    """An image with its captions tidied. Empty captions are rejected, and so is an image that is left with none."""
    kept = []
    for number, caption in enumerate(map(tidy, captions)):
        if caption:
            kept.append(caption)
        else:
            yield Rejected(f"{key}#{number}", "empty caption")
    if kept:
        yield ImageRecord(key, split, image, tuple(kept), -1)
    else:
        yield Rejected(key, "no caption")
