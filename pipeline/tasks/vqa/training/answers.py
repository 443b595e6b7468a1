"""Answers as the official evaluation of VQA 2.0 compares them, and as targets of a classifier.

The official code's slips are part of the measure and are kept: a full stop goes wherever no digit
follows, the first 32 of them only (a flag stands where `re.sub` takes a count), and "somebody'd"
loses its apostrophe.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_FULL_STOPS = re.compile(r"\.(?!\d)")
_MOST_FULL_STOPS = int(re.UNICODE)
_THOUSANDS = re.compile(r"\d,\d")
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {"none": "0"}
# Contractions that are recognized where one of their apostrophes is missing.
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've
    hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't
    mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't
    she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
    someone'd've someone'll someone's something'd something'd've something'll that's there'd
    there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've
    we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've
    who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll
    y'all'd've you'd you'd've you'll you're you've
"""
_ENOUGH = 3  # other annotators who give an answer, for it to be fully right


def _misspelled() -> dict[str, str]:
    """Contractions by each of their forms without one apostrophe."""
    result = {}
    for word in _CONTRACTIONS.split():
        for position, letter in enumerate(word):
            if letter == "'":
                result[word[:position] + word[position + 1 :]] = word
    return result | {"somebody'd": "somebodyd"}


_SPELLED = _misspelled()


@lru_cache(maxsize=1 << 16)
def normalize(answer: str) -> str:
    """An answer without case, articles, most punctuation and white space; number words as
    digits."""
    text = _without_punctuation(_tidy(answer))
    words = (_DIGITS.get(word, word) for word in text.lower().split())
    return " ".join(_SPELLED.get(word, word) for word in words if word not in _ARTICLES)


def accuracy(answer: str, annotated: Sequence[str]) -> float:
    """The official accuracy of an answer, in 0..1, from the annotators' answers.

    It is the mean over the annotators of min(1, matches among the others / 3). Nothing is
    normalized where all annotators agree to the letter: then `Yes` is not `yes`.
    """
    answer, annotated = _tidy(answer), [_tidy(text) for text in annotated]
    if len(set(annotated)) > 1:
        answer, annotated = normalize(answer), [normalize(text) for text in annotated]
    matches = annotated.count(answer)
    # seen by an annotator who gave the answer, and by one who did not
    with_own, without_own = min(1.0, (matches - 1) / _ENOUGH), min(1.0, matches / _ENOUGH)
    return (matches * with_own + (len(annotated) - matches) * without_own) / len(annotated)


def vocabulary(answers: Iterable[str], min_count: int) -> tuple[str, ...]:
    """The normalized answers that occur at least `min_count` times, the most frequent first, equals by
    their letters.

    One may be empty: it is what is left of the letter `a`.
    """
    counts = Counter(map(normalize, answers))
    return tuple(sorted(_frequent(counts, min_count), key=lambda word: (-counts[word], word)))


def vocabulary_by_occurrence(answers: Iterable[str], min_count: int) -> tuple[str, ...]:
    """As `vocabulary`, in the order in which the answers first occur: that of the classes of ViLT,
    VLMo and BEiT-3."""
    return tuple(_frequent(Counter(map(normalize, answers)), min_count))


def soft_targets(annotated: Sequence[str], classes: Mapping[str, int]) -> np.ndarray:
    """How right each class is, float32 [classes]: 0, 0.3, 0.6, 0.9, then 1 for its number of
    annotators.

    The official accuracy of every class, from normalized answers (VLMo looks up the annotators'
    answers as they are, and so never finds `t-shirt`, whose class is `t shirt`).
    """
    targets = np.zeros(len(classes), dtype=np.float32)
    for answer, count in Counter(map(normalize, annotated)).items():
        if answer in classes:
            targets[classes[answer]] = min(1.0, 0.3 * count)
    return targets


def _frequent(counts: Mapping[str, int], min_count: int) -> list[str]:
    """Answers with a count of at least `min_count`, in the order of `counts`."""
    return [word for word, count in counts.items() if count >= min_count]


def _tidy(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _without_punctuation(text: str) -> str:
    """A mark goes without a trace where it stands beside a blank anywhere, or a number has a comma;
    else a blank."""
    thousands = _THOUSANDS.search(text) is not None
    result = text
    for mark in _PUNCTUATION:
        beside_blank = f"{mark} " in text or f" {mark}" in text
        result = result.replace(mark, "" if beside_blank or thousands else " ")
    return _FULL_STOPS.sub("", result, count=_MOST_FULL_STOPS)
