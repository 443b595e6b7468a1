"""What becomes of a record in its shard: one kind of row for each kind of record."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.data.records import (
    ImageRecord,
    MaskRecord,
    QuestionsRecord,
    StatementRecord,
    TextRecord,
)
from pipeline.data.shards import schema
from pipeline.data.shards.parquet import ShardRow
from pipeline.data.transforms import image_validation


class ImageForm(NamedTuple):
    """How images are stored. max_side: of the larger ones after they are reduced, pixels; 0: none
    is; as_stored: see `image_validation.check`."""

    max_side: int
    as_stored: bool

    def check(self, image: bytes) -> image_validation.Checked:
        """The image file as a shard holds it. Raises BadImage."""
        return image_validation.check(image, self.max_side, as_stored=self.as_stored)


@dataclass(frozen=True)
class RowKind:
    """The columns of a shard, the function (record, form of its images) -> row, and what records
    are called in lines of progress.

    The function raises `BadImage` for a record that cannot be used.
    """

    columns: pa.Schema
    make: Callable[[Any, ImageForm], ShardRow]
    unit: str


def _text(record: TextRecord, form: ImageForm) -> ShardRow:
    return {"key": record.key, "sentences": record.sentences}


def _image_columns(key: str, image: image_validation.Checked) -> ShardRow:
    return {"key": key, "image": image.data, "width": image.width, "height": image.height}


def _image(record: ImageRecord, form: ImageForm) -> ShardRow:
    row = _image_columns(record.key, form.check(record.image))
    return row | {"label": record.label, "captions": record.captions}


def _questions(record: QuestionsRecord, form: ImageForm) -> ShardRow:
    questions = record.questions
    return _image_columns(record.key, form.check(record.image)) | {
        "ids": [question.id for question in questions],
        "questions": [question.text for question in questions],
        "answers": [question.answers for question in questions],
    }


def _statement(record: StatementRecord, form: ImageForm) -> ShardRow:
    return {
        "key": record.key,
        "left": form.check(record.left).data,
        "right": form.check(record.right).data,
        "statement": record.statement,
        "label": record.label,
        "group": record.group,
    }


def _mask(record: MaskRecord, form: ImageForm) -> ShardRow:
    # At full size: the mask's pixels belong to the image's.
    image, mask = image_validation.check_with_mask(
        record.image, record.mask, as_stored=form.as_stored
    )
    return _image_columns(record.key, image) | {"mask": mask}


KINDS = {
    "image": RowKind(schema.IMAGE_SHARD, _image, "images"),
    "text": RowKind(schema.TEXT_SHARD, _text, "documents"),
    "questions": RowKind(schema.QUESTION_SHARD, _questions, "images"),
    "statements": RowKind(schema.STATEMENT_SHARD, _statement, "pairs"),
    "masks": RowKind(schema.MASK_SHARD, _mask, "images"),
}
