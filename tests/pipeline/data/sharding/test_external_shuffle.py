"""Damage to the temporary files of sharding."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data.sharding import external_shuffle
from pipeline.errors import UserError

ROWS = [(split, {"key": f"{split}{n}", "image": bytes(n)}) for split in "ab" for n in range(9)]


def read(run):
    return [
        (split, row)
        for split, chunks in external_shuffle.cut([run], 4)
        for spans in chunks
        for row in external_shuffle.read(spans)
    ]


@pytest.mark.parametrize("name", ["run", "run.index"])
@given(bit=st.integers(min_value=0, max_value=1 << 16))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_of_a_run_is_an_error_or_changes_no_row(tmp_path, name, bit):
    external_shuffle.write_run(tmp_path / "run", ROWS)
    whole = read(tmp_path / "run")
    data = bytearray((tmp_path / name).read_bytes())
    bit %= 8 * len(data)
    data[bit // 8] ^= 1 << bit % 8
    (tmp_path / name).write_bytes(data)
    try:
        assert read(tmp_path / "run") == whole
    except UserError as error:
        assert "run: damaged on the disk; remove the folder" in str(error)


@pytest.mark.parametrize("size", [0, 5, 20, 300])
@pytest.mark.parametrize("name", ["run", "run.index"])
def test_a_run_that_is_cut_off_ends_in_one_line(tmp_path, name, size):
    external_shuffle.write_run(tmp_path / "run", ROWS)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="damaged on the disk"):
        read(tmp_path / "run")
