"""Parquet schemas, in one place. Row groups of every file are described in the folder's
`index.json` (see `shards`)."""

import pyarrow as pa

IMAGE_SHARD = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),  # unique within the source
        pa.field(
            "image", pa.binary(), nullable=False
        ),  # encoded bytes (JPEG or PNG) of an upright picture
        pa.field("width", pa.int32(), nullable=False),  # pixels
        pa.field("height", pa.int32(), nullable=False),  # pixels
        pa.field(
            "label", pa.int32(), nullable=False
        ),  # class index, -1 where the source has no classes
        pa.field(
            "captions", pa.list_(pa.string()), nullable=False
        ),  # empty where the source has no captions
    ]
)

QUESTION_SHARD = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("ids", pa.list_(pa.int64()), nullable=False),  # of the questions
        pa.field("questions", pa.list_(pa.string()), nullable=False),
        pa.field(
            "answers", pa.list_(pa.list_(pa.string())), nullable=False
        ),  # ten of each question, or none
    ]
)

STATEMENT_SHARD = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("left", pa.binary(), nullable=False),  # encoded pictures
        pa.field("right", pa.binary(), nullable=False),
        pa.field("statement", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),  # 1: true
        pa.field(
            "group", pa.string(), nullable=False
        ),  # equal for examples of one statement, for the consistency measure
    ]
)

MASK_SHARD = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field(
            "mask", pa.binary(), nullable=False
        ),  # PNG of mode L, as large as the picture; 0: no class
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
    ]
)

TEXT_SHARD = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field(
            "sentences", pa.list_(pa.string()), nullable=False
        ),  # one document, in reading order
    ]
)

REJECTED = pa.schema(
    [
        pa.field(
            "key", pa.string(), nullable=False
        ),  # key, or the place of the record (file and line)
        pa.field("reason", pa.string(), nullable=False),
    ]
)

TEXT_TOKENS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),  # document key and the number of the piece
        pa.field("ids", pa.list_(pa.uint16()), nullable=False),  # [T_CLS] ... [T_SEP], not padded
    ]
)


def visual_tokens(views: int, patches: int) -> pa.Schema:
    """One row per image, aligned with the image shard: `views` views and the token ids of each.

    box: left, top, right, bottom in pixels of the decoded picture; matrix: 3x4, row-major, on RGB
    in 0..255; tokens: row-major over the patch grid.
    """
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("box", pa.list_(pa.float32(), 4 * views), nullable=False),
            pa.field("flip", pa.list_(pa.bool_(), views), nullable=False),
            pa.field("matrix", pa.list_(pa.float32(), 12 * views), nullable=False),
            pa.field("tokens", pa.list_(pa.uint16(), patches * views), nullable=False),
        ]
    )
