"""The 65 kinds of questions and the three kinds of answers by which VQA 2.0 reports accuracy."""

import string

# The words that a question starts with.
_OPENINGS = (
    "are",
    "are the",
    "are there",
    "are there any",
    "are these",
    "are they",
    "can you",
    "could",
    "do",
    "do you",
    "does the",
    "does this",
    "has",
    "how",
    "how many",
    "how many people are",
    "how many people are in",
    "is",
    "is he",
    "is it",
    "is that a",
    "is the",
    "is the man",
    "is the person",
    "is the woman",
    "is there",
    "is there a",
    "is this",
    "is this a",
    "is this an",
    "is this person",
    "was",
    "what",
    "what animal is",
    "what are",
    "what are the",
    "what brand",
    "what color",
    "what color are the",
    "what color is",
    "what color is the",
    "what does the",
    "what is",
    "what is in the",
    "what is on the",
    "what is the",
    "what is the color of the",
    "what is the man",
    "what is the name",
    "what is the person",
    "what is the woman",
    "what is this",
    "what kind of",
    "what number is",
    "what room is",
    "what sport is",
    "what time",
    "what type of",
    "where are the",
    "where is the",
    "which",
    "who is",
    "why",
    "why is the",
)
OTHER = "none of the above"


def question_type(question: str) -> str:
    """The longest of the openings with which the question starts: the `question_type` of the
    annotations. Punctuation at the ends of words does not count."""
    words = [word.strip(string.punctuation) for word in question.lower().split()]
    for length in range(min(len(words), 6), 0, -1):
        if (opening := " ".join(words[:length])) in _OPENINGS:
            return opening
    return OTHER


def answer_type(answer: str) -> str:
    """`yes/no`, `number` or `other`, from the text of the most frequent answer.

    The annotations' own `answer_type` was assigned by hand and calls a few more answers numbers,
    such as `3 hours`.
    """
    if answer in ("yes", "no"):
        return "yes/no"
    return "number" if answer.replace(".", "").replace(",", "").isdigit() else "other"
