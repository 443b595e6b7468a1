"""Random access to the samples of row groups; the groups in use are kept in memory.

A sample is a row, or an element of a row's list, such as a pair of an image and one of its
captions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.shards import parquet
from pipeline.data.shards.parquet import RowGroup
from pipeline.data.transforms import views
from pipeline.errors import UserError


class RowReader:
    """Rows of any shards, as dicts.

    Args:
        cache: row groups to keep in memory.
        list_column: the column whose elements are the samples; None: the rows are.
    """

    def __init__(
        self,
        groups: Sequence[RowGroup],
        cache: int,
        columns: Sequence[str],
        list_column: str | None = None,
    ):
        self.groups, self.columns, self.list_column = list(groups), tuple(columns), list_column
        self._read = lru_cache(maxsize=cache)(self._read_group)

    @property
    def group_sizes(self) -> list[int]:
        """Samples of each row group."""
        return [group.samples if self.list_column else group.rows for group in self.groups]

    def get(self, group: int, offset: int) -> tuple[dict[str, Any], int]:
        """The row of a sample, and the sample's index in the row's list (0 where rows are
        samples)."""
        table, ends = self._read(group)
        row, element = _locate(ends, offset) if self.list_column else (offset, 0)
        return {name: table[name][row].as_py() for name in self.columns}, element

    def _read_group(self, group: int) -> tuple[pa.Table, np.ndarray]:
        table = parquet.read_group(self.groups[group], self.columns)
        ends = _list_ends(table[self.list_column]) if self.list_column else np.array([], np.int64)
        return table, ends


@dataclass(frozen=True)
class ImageRow:
    """A row of an image shard and, where tokens were computed, its stored views."""

    key: str
    image: bytes  # encoded
    captions: tuple[str, ...]
    views: views.StoredViews | Sequence[views.View]
    tokens: np.ndarray | None  # uint16 [views, patches]


class ImageReader:
    """Rows of image shards; samples are pairs of an image and one of its captions where `pairs`,
    else images.

    Args:
        groups: row groups of images, each with that of its visual tokens where it has any.
        cache: row groups to keep in memory.
    """

    def __init__(
        self, groups: Sequence[tuple[RowGroup, RowGroup | None]], cache: int, *, pairs: bool
    ):
        self.groups, self.pairs = list(groups), pairs
        self._read = lru_cache(maxsize=cache)(self._read_group)

    @property
    def group_sizes(self) -> list[int]:
        """Samples of each row group."""
        return [group.samples if self.pairs else group.rows for group, _ in self.groups]

    def get(self, group: int, offset: int) -> tuple[ImageRow, str]:
        """The image of a sample, and its caption (empty where images are samples)."""
        images, tokens = self._read(group)
        row, element = _locate(images.ends, offset) if self.pairs else (offset, 0)
        captions = tuple(images.captions[row])
        image = ImageRow(
            key=images.keys[row],
            image=images.encoded[row].as_py(),
            captions=captions,
            views=() if tokens is None else tokens.views(row),
            tokens=None if tokens is None else tokens.ids[row],
        )
        return image, captions[element] if self.pairs else ""

    def _read_group(self, group: int) -> tuple["_ImageGroup", "_TokenGroup | None"]:
        images, tokens = self.groups[group]
        table = parquet.read_group(images, ("key", "image", "captions"))
        if tokens is None:
            return _ImageGroup(table), None
        return _ImageGroup(table), _TokenGroup(images, tokens, table["key"])


class _ImageGroup:
    """The columns of a row group of images, in the form in which a row is found fastest."""

    def __init__(self, table: pa.Table):
        self.keys, self.captions = table["key"].to_pylist(), table["captions"].to_pylist()
        self.encoded = table["image"].combine_chunks()
        self.ends = _list_ends(table["captions"])


class _TokenGroup:
    """The visual tokens of a row group of images.

    Raises:
        UserError: the tokens are those of other images.
    """

    def __init__(self, images: RowGroup, tokens: RowGroup, keys: pa.ChunkedArray):
        table = parquet.read_group(tokens)
        if table["key"] != keys:
            raise UserError(
                f"{tokens.file}: row group {tokens.group} belongs to other images than {images.file}; "
                "run the visual_tokens stage again"
            )
        self._columns = {name: _fixed_size(table[name]) for name in ("box", "flip", "matrix")}
        num_views = self._columns["flip"].shape[1]
        self.ids = _fixed_size(table["tokens"]).reshape(images.rows, num_views, -1)

    def views(self, row: int) -> views.StoredViews:
        return views.StoredViews({name: values[row] for name, values in self._columns.items()})


class TextReader:
    """Packed texts; a sample is a row.

    Args:
        cache: row groups to keep in memory.
    """

    def __init__(self, groups: Sequence[RowGroup], cache: int):
        self.groups = list(groups)
        self._read = lru_cache(maxsize=cache)(self._read_group)

    @property
    def group_sizes(self) -> list[int]:
        """Samples of each row group."""
        return [group.rows for group in self.groups]

    def get(self, group: int, offset: int) -> np.ndarray:
        """Ids of a text, uint16 [length], special ids included."""
        return parquet.numbers(self._read(group)[offset].values)

    def _read_group(self, group: int) -> pa.ChunkedArray:
        return parquet.read_group(self.groups[group], ("ids",))["ids"]


def _list_ends(lists: pa.ChunkedArray) -> np.ndarray:
    """Samples up to the end of each row: int64 [rows]; an empty list counts as one sample."""
    return np.maximum(parquet.numbers(pc.list_value_length(lists.combine_chunks())), 1).cumsum()


def _locate(ends: np.ndarray, offset: int) -> tuple[int, int]:
    """The row of a sample, and its index in the row's list."""
    row = int(np.searchsorted(ends, offset, side="right"))
    return row, offset - (int(ends[row - 1]) if row else 0)


def _fixed_size(column: pa.ChunkedArray) -> np.ndarray:
    """A column of fixed-size lists as an array [rows, size]."""
    array = column.combine_chunks()
    return parquet.numbers(array.flatten()).reshape(len(array), -1)
