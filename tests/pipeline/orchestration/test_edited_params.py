"""params.yaml has other values for a while, and is then as it was."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.orchestration.edited_params import edited

TEXT = "a:  {b: 1}  # a comment\n"


def halve(tree: Any) -> None:
    tree["a"]["b"] = 0.5


@pytest.mark.parametrize("fails", [False, True])
def test_the_file_is_as_before_however_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    pytest.importorskip("dvc")
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TEXT)
    try:
        with edited(halve):
            assert "b: 0.5" in Path("params.yaml").read_text()
            if fails:
                raise ValueError
    except ValueError:
        pass
    assert Path("params.yaml").read_text() == TEXT
