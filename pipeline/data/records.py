"""The records that readers of data sets yield, and how texts are cleaned.

Texts lose control characters and have their white space collapsed; in captions, questions and
statements HTML's entities become the characters that they mean. A text that is not UTF-8, is
empty or is much too long is rejected with this reason, and so is a record that is left without
texts.
"""

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

Split = Literal["train", "val", "test"]
SPLITS: dict[str, Split] = {"train": "train", "val": "val", "test": "test"}
# characters of a caption, question or statement (choice: CC3M's longest has 235, COCO's 250)
LONGEST = 1000
# characters (choice): a line of prose without a full stop in it is a table or a list
LONGEST_SENTENCE = 5000
HOLE = "\ufffc"  # the object replacement character: in a sentence, for what it has lost
_CONTROLS = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # C0 and C1 without white space
    "\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)  # soft hyphens, marks without width
# half a surrogate pair, which JSON can spell; the replacement character for invalid bytes
_NOT_UTF8 = re.compile("[\ud800-\udfff\ufffd]")

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffd]")


class Entry(Protocol):
    """Where an official file has one or some records: enough to read them in any process. It can be
    pickled."""

    @property
    def size(self) -> int:
        """Bytes of memory that reading it takes, about."""


@dataclass(frozen=True)
class ImageRecord:
    """An image file as it was distributed, not yet decoded."""

    key: str  # unique within the source, and the same whenever the source is read
    split: Split  # "train" where the source has no official split
    image: bytes
    captions: tuple[str, ...]
    label: int  # class index, -1 where the source has no classes
    # of the image in other data sets: "coco 42", "flickr 2345678901"
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextRecord:
    """One document."""

    key: str
    split: Split
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question about an image. answers: of ten annotators, none where they are not published."""

    id: int
    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class QuestionsRecord:
    """An image file with its questions."""

    key: str
    split: Split
    image: bytes
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class StatementRecord:
    """A statement about two image files, true (label 1) or false (0). group: equal for all examples
    of a statement."""

    key: str
    split: Split
    left: bytes
    right: bytes
    statement: str
    label: int
    group: str


@dataclass(frozen=True)
class MaskRecord:
    """An image file and the class of each of its pixels: a PNG of mode L and of the image's size,
    where 0 is no class."""

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
    """A record, or its text `<key>#<number>`, that cannot be used. The reason is `kind` or `kind:
    detail`."""

    key: str
    reason: str


Record = ImageRecord | TextRecord | QuestionsRecord | StatementRecord | MaskRecord


def tidy(text: str) -> str:
    """The text stripped, without control characters, every run of white space as one blank."""
    return " ".join(_CONTROLS.sub("", text).split())


def annotation_text(text: str) -> str:
    """The tidy text of a caption, question or statement: these come from web pages and forms, so
    HTML's entities are resolved, twice as in CLIP's tokenizers, as some were escaped twice."""
    if "&" not in text:
        return tidy(text)
    try:
        return tidy(html.unescape(html.unescape(text)))
    except ValueError:  # "&#" and thousands of digits
        return tidy(text)


def fault(text: str, longest: int = LONGEST) -> str | None:
    """What is wrong with a tidy text: `empty`, `damaged` (not UTF-8), `incomplete` (HOLE in it),
    `over-long`, or None.

    longest: characters.
    """
    if not text:
        return "empty"
    if _NOT_UTF8.search(text):
        return "damaged"
    if HOLE in text:
        return "incomplete"
    return "over-long" if len(text) > longest else None


def key_fault(key: str) -> str | None:
    """What is wrong with the key of a record: `empty`, `damaged` (control characters, line breaks,
    not UTF-8), `over-long`, or None."""
    if not key.strip():
        return "empty"
    if len(key) > LONGEST:
        return "over-long"
    return "damaged" if not key.isprintable() and _UNPRINTABLE.search(key) else None


def captioned(
    key: str, split: Split, image: bytes, captions: Iterable[str], names: tuple[str, ...] = ()
) -> Iterator[ImageRecord | Rejected]:
    """An image with its captions as `annotation_text`. Unusable captions are rejected, and so is an image that is
    left with none."""
    usable = []
    for number, caption in enumerate(map(annotation_text, captions)):
        if problem := fault(caption):
            yield Rejected(f"{key}#{number}", f"{problem} caption")
        else:
            usable.append(caption)
    if usable:
        yield ImageRecord(key, split, image, tuple(usable), -1, names)
    else:
        yield Rejected(key, "no caption")


def document(key: str, split: Split, sentences: Iterable[str]) -> Iterator[TextRecord | Rejected]:
    """A document of tidy sentences. Unusable ones are rejected, and so is a document that is left
    with none."""
    usable = []
    for number, sentence in enumerate(sentences):
        if problem := fault(sentence, LONGEST_SENTENCE):
            yield Rejected(f"{key}#{number}", f"{problem} sentence")
        else:
            usable.append(sentence)
    if usable:
        yield TextRecord(key, split, tuple(usable))
    else:
        yield Rejected(key, "no prose")
