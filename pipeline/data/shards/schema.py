"""The Parquet schemas. Row groups of every file are described in the folder's `index.json` (see
`parquet`)."""

import pyarrow as pa

IMAGE_SHARD = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),  # unique within the source
        # encoded bytes (JPEG or PNG) of an upright image
        pa.field("image", pa.binary(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),  # pixels
        pa.field("height", pa.int32(), nullable=False),  # pixels
        # class index, -1 where the source has no classes
        pa.field("label", pa.int32(), nullable=False),
        # empty where the source has no captions
        pa.field("captions", pa.list_(pa.string()), nullable=False),
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
        # ten of each question, or none
        pa.field("answers", pa.list_(pa.list_(pa.string())), nullable=False),
    ]
)

STATEMENT_SHARD = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("left", pa.binary(), nullable=False),  # encoded images
        pa.field("right", pa.binary(), nullable=False),
        pa.field("statement", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),  # 1: true
        # equal for examples of one statement, for the consistency measure
        pa.field("group", pa.string(), nullable=False),
    ]
)

MASK_SHARD = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        # PNG of mode L, as large as the image; 0: no class
        pa.field("mask", pa.binary(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
    ]
)

TEXT_SHARD = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        # one document, in reading order
        pa.field("sentences", pa.list_(pa.string()), nullable=False),
    ]
)

REJECTED = pa.schema(
    [
        # key, or file and line of the record
        pa.field("key", pa.string(), nullable=False),
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

    box: left, top, right, bottom in pixels of the decoded image; matrix: 3x4, row-major, on RGB
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
