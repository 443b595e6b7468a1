"""The soak of `benchmarks.chaos` on a few stages: kills leave no trace, and it sees one that would."""

import shutil
from pathlib import Path

import pytest

from benchmarks import chaos


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("git"), reason="clones this checkout with git")
def test_kills_leave_no_trace_and_a_trace_is_found(tmp_path: Path, capsys) -> None:
    chaos.main(["--kills", "4", "--folder", str(tmp_path), "shard@bookcorpus"])
    printed = capsys.readouterr().out
    assert "4 kills" in printed and "nothing to mend by hand" in printed


def test_other_bytes_and_missing_files_are_seen(tmp_path: Path) -> None:
    for name in ("alone", "killed"):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "data/same").write_text("same")
        (tmp_path / name / "data/other").write_text(name)
    (tmp_path / "alone/data/lost").touch()
    found = list(chaos.file_faults(tmp_path / "alone", tmp_path / "killed"))
    assert found == ["data/lost: missing", "data/other: other bytes"]
