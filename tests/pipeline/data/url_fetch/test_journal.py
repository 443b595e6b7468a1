"""What a journal gives back after kills, full disks and damage."""

import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.records import UrlRow
from pipeline.data.url_fetch.fetcher import fetch
from pipeline.data.url_fetch.journal import Journal, UrlResult
from pipeline.errors import UserError
from pipeline.utils import files
from tests.helpers import tiny, web_server
from tests.pipeline.data.url_fetch.test_hostile_hosts import PARAMS

ROWS = 4


def noted(path: Path) -> bytes:
    """Write the notes of `ROWS` rows; return their bytes."""
    journal = Journal(path)
    for row in range(ROWS):
        journal.add(UrlResult(row, f"key {row}", "url", "ok", row, "caption"), bytes([row]) * 9)
    return path.with_name(f".{path.name}.log").read_bytes()


@settings(max_examples=40)
@given(st.data())
def test_damage_costs_what_it_hits_and_is_never_taken_for_an_answer(tmp_path_factory, data):
    """A note that is damaged is passed over; from one on whose length is damaged, all are."""
    folder = tmp_path_factory.mktemp("journal")
    path, log = folder / "x", folder / ".x.log"
    whole = bytearray(noted(path))
    start = data.draw(st.integers(0, len(whole) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=20))
    whole[start : start + len(damage)] = damage
    hit = range(start * ROWS // len(whole), (start + len(damage)) * ROWS // len(whole) + 1)
    log.write_bytes(whole)
    journal = Journal(path)
    assert journal.statuses.keys() >= set(range(min(hit)))
    assert set(journal.statuses.values()) <= {"ok"}
    missing = set(range(ROWS)) - journal.statuses.keys()
    if missing:
        with pytest.raises(UserError, match="damaged on the disk; run the stage again"):
            journal.finish(ROWS)
        journal = Journal(path)
    for row in missing:
        journal.add(UrlResult(row, f"key {row}", "url", "ok", row, "caption"), bytes([row]) * 9)
    journal.finish(ROWS)
    assert pq.read_table(path)["image"].to_pylist() == [bytes([row]) * 9 for row in range(ROWS)]


def test_a_damaged_note_costs_that_note_alone(tmp_path):
    whole = bytearray(noted(tmp_path / "x"))
    whole[len(whole) // ROWS + 20] ^= 1
    (tmp_path / ".x.log").write_bytes(whole)
    assert Journal(tmp_path / "x").statuses.keys() == {0, 2, 3}


def test_only_what_was_damaged_is_requested_again(tmp_path):
    with web_server.web() as server:
        urls = [f"http://a.example/fine/{number}" for number in range(6)]
        rows = [UrlRow(str(number), "train", url, "caption") for number, url in enumerate(urls)]
        fetch("list", lambda: rows, tmp_path / "whole", PARAMS, server.address)
        server.log.clear()
        folder = tmp_path / "damaged"
        folder.mkdir()
        journal = Journal(folder / "train-00000.parquet")
        table = pq.read_table(tmp_path / "whole/train-00000.parquet").to_pylist()
        for number, row in enumerate(table):
            image = row.pop("image")
            journal.add(UrlResult(number, **row), image)
        log = folder / ".train-00000.parquet.log"
        notes = bytearray(log.read_bytes())
        notes[len(notes) // 2] ^= 64
        log.write_bytes(notes)
        fetch("list", lambda: rows, folder, PARAMS, server.address)
    assert len(server.log) == 1
    name = "train-00000.parquet"
    assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_finished_file_that_is_damaged_is_fetched_again(tmp_path, capsys):
    with web_server.web() as server:
        rows = [UrlRow("0", "train", "http://a.example/fine/1", "caption")]
        fetch("list", lambda: rows, tmp_path, PARAMS, server.address)
        path = tmp_path / "train-00000.parquet"
        whole = path.read_bytes()
        for damaged in (b"", whole[:-9], b"\0" * 99):
            path.write_bytes(damaged)
            assert fetch("list", lambda: rows, tmp_path, PARAMS, server.address) == {"ok": 1}
            assert path.read_bytes() == whole
    assert len(server.log) == 4
    assert "train-00000.parquet: damaged, its URLs are requested again" in capsys.readouterr().err


FULL = """
import resource, sys
from pathlib import Path
from pipeline.data.url_fetch.journal import Journal, UrlResult
journal = Journal(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    for row in range(9):
        journal.add(UrlResult(row, "k", "u", "ok", 1, "c"), bytes(300))
except OSError as error:
    print(error.filename)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def test_a_full_disk_is_said_with_the_file_and_loses_the_last_note_alone(tmp_path):
    path = tmp_path / "x"
    process = subprocess.run(
        [sys.executable, "-c", FULL, path],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(tiny.ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    assert process.stdout == f"{tmp_path / '.x.log'}\n"
    assert Journal(path).statuses == {0: "ok", 1: "ok"}


def test_all_is_written_also_where_the_system_takes_little_at_a_time(tmp_path):
    class Slow:
        name, written = "slow", b""

        def write(self, data: memoryview) -> int:
            self.written += bytes(data[:3])
            return len(data[:3])

    files.write_all(slow := Slow(), b"0123456789")
    assert slow.written == b"0123456789"
