"""What a machine does to a stage is one line that names the file and what to do."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import params
from pipeline.data.shards import parquet
from pipeline.errors import UserError
from pipeline.utils import files, machine_errors
from pipeline.utils.machine_errors import explain

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(st.sampled_from(sorted(errno.errorcode)), NAMES)
def test_every_error_of_the_system_is_one_line_with_the_path(code: int, name: str) -> None:
    line = explain(OSError(code, os.strerror(code), f"/data/{name}"))
    assert line is not None and line.startswith("/data/")
    assert os.strerror(code).lower() in line


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "make room there"),
        (errno.EDQUOT, "make room there"),
        (errno.EROFS, "readable and writable"),
        (errno.EACCES, "readable and writable"),
        (errno.EBUSY, "a mount point"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOENT, "run the stage that makes it"),
    ],
)
def test_what_to_do_follows(code: int, advice: str) -> None:
    assert advice in str(explain(OSError(code, os.strerror(code), "x")))


def test_the_target_of_a_copy_is_at_fault() -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "from", None, "to")
    assert str(explain(error)).startswith("to: no space left on device")


def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(10**14)
    for error in (caught.value, MemoryError(), RuntimeError("CUDA out of memory. Tried to ...")):
        assert "ran out" in str(explain(error))


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and what is none")
    with pytest.raises(pa.ArrowInvalid) as caught:
        pq.ParquetFile(path)
    assert "a damaged Parquet file" in str(explain(caught.value))


@pytest.mark.parametrize(
    "error", [KeyError("k"), ValueError("v"), RuntimeError("shape mismatch"), AssertionError()]
)
def test_errors_of_the_program_are_not_explained(error: Exception) -> None:
    assert explain(error) is None


def test_a_write_without_space_names_the_file_whatever_the_library_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_errors, "is_full", lambda folder: True)
    for error in (RuntimeError("unexpected pos 576 vs 534"), OSError("300 requested")):
        with pytest.raises(OSError) as caught, files.replacing(tmp_path / "best.pt"):
            raise error
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, f"{tmp_path}/best.pt")
    with pytest.raises(UserError), files.replacing(tmp_path / "best.pt"):
        raise UserError("params.yaml: ...")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_writing_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, files.replacing(tmp_path / "x"):
        raise OSError(errno.EIO, "Input/output error")
    assert caught.value.filename == f"{tmp_path}/x"


def test_a_fresh_directory_replaces_whatever_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder" / "within").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", "folder", "broken", "new"):
        path = files.fresh_directory(tmp_path / name)
        assert path.is_dir() and not path.is_symlink() and list(path.iterdir()) == []


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_never_opened(make: Callable[[Path], None], tmp_path: Path) -> None:
    """Opened, the FIFO would wait for ever, and /dev/zero never end."""
    path = tmp_path / "index.json"
    make(path)
    for read in (files.read_json, files.sha256, params._bytes):
        with pytest.raises(UserError, match="index.json: not a file"):
            read(path)
    with pytest.raises(UserError, match="index.json: not a file"):
        parquet._row_groups(tmp_path, [{"name": "index.json", "groups": [], "footer": ""}])
