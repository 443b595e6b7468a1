"""Random access to the rows of row groups, with the groups in use kept in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.data.shards import parquet
from pipeline.data.shards.parquet import RowGroup
from pipeline.data.transforms import views
from pipeline.errors import UserError


class Rows:
    """Rows of any shard as dicts; units are the elements of the list column `unit`, or the rows
    themselves."""

    def __init__(
        self,
        groups: Sequence[RowGroup],
        cache: int,
        columns: Sequence[str],
        unit: str | None = None,
    ):
        self.groups, self.columns, self.unit = list(groups), tuple(columns), unit
        self._read = lru_cache(maxsize=cache)(self._read_group)

    @property
    def units(self) -> list[int]:
        """Units of each row group."""
        return [group.units if self.unit else group.rows for group in self.groups]

    def get(self, group: int, unit: int) -> tuple[dict[str, Any], int]:
        """The row of a unit, and the unit's place in the row's list (0 where units are rows)."""
        table, ends = self._read(group)
        row = int(np.searchsorted(ends, unit, side="right")) if self.unit else unit
        place = unit - (int(ends[row - 1]) if row else 0) if self.unit else 0
        return {name: table[name][row].as_py() for name in self.columns}, place

    def _read_group(self, number: int) -> tuple[pa.Table, np.ndarray]:
        table = parquet.read_group(self.groups[number], self.columns)
        return table, _ends(table[self.unit]) if self.unit else np.array([], np.int64)


@dataclass(frozen=True)
class Picture:
    """A row of an image shard and, where tokens were computed, its stored views."""

    key: str
    image: bytes
    captions: tuple[str, ...]
    views: Sequence[views.View]
    tokens: np.ndarray | None  # uint16 [views, patches]


class PictureRows:
    """Rows of image shards; units are (picture, caption) pairs where `pairs`, else pictures."""

    def __init__(self, groups: Sequence[tuple[RowGroup, Path | None]], cache: int, *, pairs: bool):
        self.groups, self.pairs = list(groups), pairs
        self._read = lru_cache(maxsize=cache)(self._read_group)

    @property
    def units(self) -> list[int]:
        """Units of each row group."""
        return [group.units if self.pairs else group.rows for group, _ in self.groups]

    def get(self, group: int, unit: int) -> tuple[Picture, str]:
        """A unit of a group: its picture, and its caption (empty where units are pictures)."""
        pictures, tokens = self._read(group)
        row = int(np.searchsorted(pictures.ends, unit, side="right")) if self.pairs else unit
        captions = tuple(pictures.captions[row])
        caption = captions[unit - (int(pictures.ends[row - 1]) if row else 0)] if self.pairs else ""
        stored = () if tokens is None else tokens.views(row)
        ids = None if tokens is None else tokens.ids[row]
        return Picture(
            pictures.keys[row], pictures.images[row].as_py(), captions, stored, ids
        ), caption

    def _read_group(self, number: int) -> tuple["_Pictures", "_Tokens | None"]:
        group, tokens = self.groups[number]
        table = parquet.read_group(group, ("key", "image", "captions"))
        return _Pictures(table), None if tokens is None else _Tokens(group, tokens, table["key"])


class _Pictures:
    """The columns of a row group, as it takes least to get one row of them."""

    def __init__(self, table: pa.Table):
        self.keys, self.captions = table["key"].to_pylist(), table["captions"].to_pylist()
        self.images = table["image"].combine_chunks()
        self.ends = _ends(table["captions"])


class _Tokens:
    """The visual tokens of a row group, checked to belong to the same pictures."""

    def __init__(self, group: RowGroup, folder: Path, keys: pa.ChunkedArray):
        file = folder / group.file.name
        table = parquet.read_group(RowGroup(file, group.group, group.rows, group.units))
        if table["key"] != keys:
            raise UserError(
                f"{file}: row group {group.group} belongs to other pictures than {group.file}; "
                "run the visual_tokens stage again"
            )
        self._columns = {name: _fixed(table[name]) for name in ("box", "flip", "matrix")}
        count = self._columns["flip"].shape[1]
        self.ids = _fixed(table["tokens"]).reshape(group.rows, count, -1)

    def views(self, row: int) -> Sequence[views.View]:
        return views.Stored({name: values[row] for name, values in self._columns.items()})


class TextRows:
    """Packed texts; a unit is a row."""

    def __init__(self, groups: Sequence[RowGroup], cache: int):
        self.groups = list(groups)
        self._read = lru_cache(maxsize=cache)(
            lambda group: parquet.read_group(self.groups[group], ("ids",))["ids"]
        )

    @property
    def units(self) -> list[int]:
        """Units of each row group."""
        return [group.rows for group in self.groups]

    def get(self, group: int, unit: int) -> np.ndarray:
        """Ids of one text, uint16 [length], special ids included."""
        return parquet.numbers(self._read(group)[unit].values)


def _ends(lists: pa.ChunkedArray) -> np.ndarray:
    """Units up to the end of each row; a row without any counts as one."""
    return np.maximum(parquet.numbers(pc.list_value_length(lists.combine_chunks())), 1).cumsum()


def _fixed(column: pa.ChunkedArray) -> np.ndarray:
    """A column of fixed-size lists as an array [rows, size]."""
    array = column.combine_chunks()
    return parquet.numbers(array.flatten()).reshape(len(array), -1)
