"""Examples of a run: the first rows of the split that a model is evaluated on."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config import params
from pipeline.data.shards import parquet
from pipeline.errors import UserError
from pipeline.pretraining import variants
from pipeline.tasks import evaluations
from pipeline.tasks.nlvr2.training.data import SIDES

COUNT = 12  # of each tab
_PRETRAINED = "pretrain/"


class Split(NamedTuple):
    """Where the examples of a model are."""

    shards: Path
    name: str
    data: str  # the data set
    params: Any  # the task's EvaluateParams; None of a pretrained model


class Example(NamedTuple):
    """What a tab can be filled with."""

    images: tuple[bytes, ...]
    text: str = ""
    truth: str = ""  # a sentence
    thumbnail: bytes | None = None  # where it is none of the images
    mask: bytes | None = None  # PNG of classes
    label: int | None = None  # of the image's class


Reader = Callable[[Split], list[Example]]


def split_of(scale: str, model: str) -> Split:
    """The split that a model is evaluated on; a pretrained one's are pairs of its validation.

    Raises:
        UserError: nothing evaluates the model.
    """
    if model.startswith(_PRETRAINED):
        variant = variants.load_params(params.read(), model.removeprefix(_PRETRAINED))
        data = variant.validation.pairs[0]
        return Split(Path("data", scale, "shards", data), "val", data, None)
    for name in evaluations.names():
        evaluation = evaluations.load(name)
        if evaluation.model == model:
            settings = evaluation.load_params(params.read())
            shards = Path("data", scale, "shards", evaluation.data)
            return Split(shards, getattr(settings, "split", "test"), evaluation.data, settings)
    raise UserError(f"{model}: no evaluation names it, so there are no examples of its data")


def questions(split: Split) -> list[Example]:
    """Questions about images, one about each."""
    found = []
    for row in _rows(split, "image", "questions", "answers"):
        answers = row["answers"][0]
        truth = f"The annotators' answer: {answers[0]}." if answers else ""
        found.append(Example((row["image"],), row["questions"][0], truth))
    return found


def statements(split: Split) -> list[Example]:
    """Statements about two images."""
    found = []
    for row in _rows(split, *SIDES, "statement", "label"):
        truth = f"In the test set it is {'true' if row['label'] else 'false'}."
        found.append(Example((row["left"], row["right"]), row["statement"], truth))
    return found


def masks(split: Split) -> list[Example]:
    """Images with the class of each pixel."""
    return [Example((row["image"],), mask=row["mask"]) for row in _rows(split, "image", "mask")]


def labeled(split: Split) -> list[Example]:
    """Images with the class of each."""
    return [Example((row["image"],), label=row["label"]) for row in _rows(split, "image", "label")]


def captioned(split: Split) -> list[Example]:
    """Images with their first caption."""
    found = []
    for row in _rows(split, "image", "captions"):
        found.append(Example((row["image"],), row["captions"][0]))
    return found


def sentences(split: Split) -> list[Example]:
    """Captions, each with the image that it is of as its thumbnail."""
    return [Example((), one.text, thumbnail=one.images[0]) for one in captioned(split)]


def images(split: Split) -> list[Example]:
    """Images alone."""
    return [Example(one.images) for one in captioned(split)]


def _rows(split: Split, *columns: str) -> Iterator[dict[str, Any]]:
    return islice(parquet.read_rows(split.shards, split.name, columns), COUNT)
