"""What becomes of a record in its shard: one kind of row for each kind of record."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class RowKind:
    """The columns of a shard, and the function (record, largest side in pixels or 0) -> row.

    The function raises `BadImage` for a record that cannot be used.
    """

    columns: pa.Schema
    make: Callable[[Any, int], ShardRow]


def _text(record: TextRecord, max_side: int) -> ShardRow:
    return {"key": record.key, "sentences": record.sentences}


def _image_columns(key: str, image: image_validation.Checked) -> ShardRow:
    return {"key": key, "image": image.data, "width": image.width, "height": image.height}


def _image(record: ImageRecord, max_side: int) -> ShardRow:
    row = _image_columns(record.key, image_validation.check(record.image, max_side))
    return row | {"label": record.label, "captions": record.captions}


def _questions(record: QuestionsRecord, max_side: int) -> ShardRow:
    questions = record.questions
    return _image_columns(record.key, image_validation.check(record.image, max_side)) | {
        "ids": [question.id for question in questions],
        "questions": [question.text for question in questions],
        "answers": [question.answers for question in questions],
    }


def _statement(record: StatementRecord, max_side: int) -> ShardRow:
    return {
        "key": record.key,
        "left": image_validation.check(record.left, max_side).data,
        "right": image_validation.check(record.right, max_side).data,
        "statement": record.statement,
        "label": record.label,
        "group": record.group,
    }


def _mask(record: MaskRecord, max_side: int) -> ShardRow:
    # At full size: the mask's pixels belong to the image's.
    image, mask = image_validation.check_with_mask(record.image, record.mask)
    return _image_columns(record.key, image) | {"mask": mask}


KINDS = {
    "image": RowKind(schema.IMAGE_SHARD, _image),
    "text": RowKind(schema.TEXT_SHARD, _text),
    "questions": RowKind(schema.QUESTION_SHARD, _questions),
    "statements": RowKind(schema.STATEMENT_SHARD, _statement),
    "masks": RowKind(schema.MASK_SHARD, _mask),
}
