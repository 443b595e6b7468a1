"""What a source's reader yields, and how it treats texts.

Texts lose control characters and have their white space collapsed. A text that was no UTF-8, is
empty or is much too long is left out with this reason, and so is a record that is left without
texts.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

Split = Literal["train", "val", "test"]
# characters of a caption, question or statement (choice: CC3M's longest has 235, COCO's 250)
LONGEST = 1000
LONGEST_SENTENCE = (
    5000  # characters (choice): a line of prose without a full stop in it is a table or a list
)
_CONTROLS = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # C0 and C1 without white space
    "\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)  # soft hyphens, marks without width
_NOT_UTF8 = re.compile(
    "[\ud800-\udfff\ufffd]"
)  # half a pair, which JSON can spell; what stands for wrong bytes


class Entry(Protocol):
    """What an official file holds of one or some records: enough to read them, in any process. It
    can be pickled."""

    @property
    def size(self) -> int:
        """Bytes that reading it takes, about."""


@dataclass(frozen=True)
class ImageRecord:
    """A picture as it was distributed, not yet decoded."""

    key: str  # unique within the source, and the same whenever the source is read
    split: Split  # "train" where the source has no official split
    image: bytes
    captions: tuple[str, ...]
    label: int  # class index, -1 where the source has no classes
    names: tuple[
        str, ...
    ] = ()  # what other data sets call the picture: "coco 42", "flickr 2345678901"


@dataclass(frozen=True)
class TextRecord:
    """One document."""

    key: str
    split: Split
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question about a picture. `answers` has ten annotators' answers, or none where they are not
    published."""

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
    """A statement about two pictures, true (label 1) or false (0). `group`: equal for examples of
    one statement."""

    key: str
    split: Split
    left: bytes
    right: bytes
    statement: str
    label: int
    group: str


@dataclass(frozen=True)
class MaskRecord:
    """A picture and the class of each of its pixels, as a PNG of mode L and of the picture's size;
    0: no class."""

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
    """A record, or a caption `<key>#<number>`, that is left out. The reason is `kind` or `kind:
    detail`."""

    key: str
    reason: str


Record = ImageRecord | TextRecord | QuestionsRecord | StatementRecord | MaskRecord


def tidy(text: str) -> str:
    """Without control characters, stripped, with every run of white space as one blank."""
    return " ".join(_CONTROLS.sub("", text).split())


def fault(text: str, longest: int = LONGEST) -> str | None:
    """What is wrong with a tidy text: `empty`, `damaged` (it was no UTF-8), `over-long` or
    nothing."""
    if not text:
        return "empty"
    if _NOT_UTF8.search(text):
        return "damaged"
    return "over-long" if len(text) > longest else None


def captioned(
    key: str, split: Split, image: bytes, captions: Iterable[str], names: tuple[str, ...] = ()
) -> Iterator[ImageRecord | Rejected]:
    """An image with its captions tidied. Unusable captions are rejected, and so is an image that is
    left with none."""
    kept = []
    for number, caption in enumerate(map(tidy, captions)):
        if wrong := fault(caption):
            yield Rejected(f"{key}#{number}", f"{wrong} caption")
        else:
            kept.append(caption)
    if kept:
        yield ImageRecord(key, split, image, tuple(kept), -1, names)
    else:
        yield Rejected(key, "no caption")


def document(key: str, split: Split, sentences: Iterable[str]) -> Iterator[TextRecord | Rejected]:
    """A document of tidy sentences. Unusable ones are rejected, and so is a document that is left
    with none."""
    kept = []
    for number, sentence in enumerate(sentences):
        if wrong := fault(sentence, LONGEST_SENTENCE):
            yield Rejected(f"{key}#{number}", f"{wrong} sentence")
        else:
            kept.append(sentence)
    if kept:
        yield TextRecord(key, split, tuple(kept))
    else:
        yield Rejected(key, "no prose")
