"""Damage to a shard: no flipped bit is read as other rows."""

import re
from itertools import chain

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data.shards import parquet, schema
from pipeline.errors import UserError
from pipeline.utils import files

ROWS = [
    {
        "key": f"image {number}",
        "image": bytes(range(40 + number)),
        "width": 4,
        "height": 3,
        "label": number,
        "captions": ["a caption", "another"][: number % 3],
    }
    for number in range(6)
]


@pytest.fixture
def folder(tmp_path):
    entries = parquet.write(
        tmp_path, "train", ROWS, schema.IMAGE_SHARD, rows_per_group=2, groups_per_file=2
    )
    parquet.write_index(tmp_path, {"train": entries})
    return tmp_path


def read(folder):
    return list(parquet.read_rows(folder, "train"))


def flipped(data, bit):
    bit %= 8 * len(data)
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.integers(min_value=0, max_value=1 << 20))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_is_an_error_or_changes_no_row(folder, bit):
    file = folder / "train-00000.parquet"
    whole = file.read_bytes()
    file.write_bytes(flipped(whole, bit))
    try:
        assert read(folder) == ROWS
    except UserError as error:
        assert "train-00000.parquet: damaged (row group" in str(error)
        assert "make verify" in str(error)
    finally:
        file.write_bytes(whole)


def test_every_bit_of_an_image_is_guarded(folder):
    """An image is what a flipped bit most likely hits, and what shows least that it was hit."""
    file = folder / "train-00000.parquet"
    whole = file.read_bytes()
    start = whole.index(ROWS[0]["image"])
    for bit in range(8 * start, 8 * (start + 40), 5):
        file.write_bytes(flipped(whole, bit))
        with pytest.raises(UserError, match="row group 0: .*CRC checksum"):
            read(folder)


@pytest.mark.parametrize("size", [0, 3, 7, 8, 11, 500])
def test_a_file_that_is_cut_off_ends_in_one_line(folder, size):
    file = folder / "train-00001.parquet"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(UserError, match=r"train-00001.parquet: damaged \(row group 0"):
        read(folder)


def test_the_file_of_another_folder_is_no_longer_the_shard(folder, tmp_path_factory):
    """As after a copy that went wrong: a whole file, but not that of the index."""
    other = tmp_path_factory.mktemp("other")
    parquet.write_file(other / "file", ROWS[2:], schema.IMAGE_SHARD, 2)
    (other / "file").replace(folder / "train-00000.parquet")
    with pytest.raises(UserError, match="damaged .*footer"):
        read(folder)


def test_a_missing_file_is_no_damaged_one(folder):
    (folder / "train-00000.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        read(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(
            st.sampled_from(["splits", "train", "files", "name", "groups", "footer", "rows"]),
            values,
        )
    ),
    max_leaves=8,
)


@given(st.one_of(JSON, JSON.map(lambda value: {"splits": {"train": {"files": [value]}}})))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_in_place_of_an_index_ends_in_one_line(folder, value):
    files.write_json(folder / "index.json", value)
    try:
        assert read(folder) == []
    except UserError as error:
        assert re.search("index.json: (not an index of shards|no split 'train')", str(error))


def test_entries_have_the_checksums_of_their_files(folder):
    index = files.read_json(folder / "index.json")
    for entry in index["splits"]["train"]["files"]:
        assert entry["sha256"] == files.sha256(folder / entry["name"])
    rows = [
        pq.read_table(folder / entry["name"]).to_pylist()
        for entry in index["splits"]["train"]["files"]
    ]
    assert list(chain.from_iterable(rows)) == ROWS
