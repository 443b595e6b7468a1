"""What becomes of a record in its shard: one kind of row for each kind of source."""

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
from pipeline.data.transforms import image_validation

Row = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """The columns of a shard, and the function (record, largest side in pixels or 0) -> row.

    The function raises `BadImage` for a record that cannot be used.
    """

    columns: pa.Schema
    make: Callable[[Any, int], Row]


def _text(record: TextRecord, max_side: int) -> Row:
    return {"key": record.key, "sentences": record.sentences}


def _picture(key: str, data: bytes, max_side: int) -> Row:
    image, width, height = image_validation.check(data, max_side)
    return {"key": key, "image": image, "width": width, "height": height}


def _image(record: ImageRecord, max_side: int) -> Row:
    return _picture(record.key, record.image, max_side) | {
        "label": record.label,
        "captions": record.captions,
    }


def _questions(record: QuestionsRecord, max_side: int) -> Row:
    asked = record.questions
    return _picture(record.key, record.image, max_side) | {
        "ids": [question.id for question in asked],
        "questions": [question.text for question in asked],
        "answers": [question.answers for question in asked],
    }


def _statement(record: StatementRecord, max_side: int) -> Row:
    sides = {
        name: image_validation.check(data, max_side)[0]
        for name, data in (("left", record.left), ("right", record.right))
    }
    return {
        "key": record.key,
        **sides,
        "statement": record.statement,
        "label": record.label,
        "group": record.group,
    }


def _mask(record: MaskRecord, max_side: int) -> Row:
    row = _picture(
        record.key, record.image, 0
    )  # at full size: the mask's pixels belong to the picture's
    return row | {"mask": image_validation.check_mask(record.mask, row["width"], row["height"])}


KINDS = {
    "image": Kind(schema.IMAGE_SHARD, _image),
    "text": Kind(schema.TEXT_SHARD, _text),
    "questions": Kind(schema.QUESTION_SHARD, _questions),
    "statements": Kind(schema.STATEMENT_SHARD, _statement),
    "masks": Kind(schema.MASK_SHARD, _mask),
}
