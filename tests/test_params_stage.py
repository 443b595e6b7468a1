"""The parameters that DVC reads: a scale's own blocks and the shared ones, nothing of other scales."""

import json
from pathlib import Path

import pytest

from pipeline import params
from stages import params as stage
from tests import tiny


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What the stage writes for a project's params.yaml."""
    def write() -> dict:
        stage.main()
        return json.loads(Path("data/small/params.json").read_text(encoding="utf-8"))

    tiny.write(tmp_path, {**tiny.settings(), "medium": {}, "paper": {}})
    monkeypatch.chdir(tmp_path)
    return write


def test_it_is_what_stages_read(written) -> None:
    tree = params.read()
    assert written() == {key: tree[key] for key in tree if key not in {"medium", "paper"}}


def test_other_scales_do_not_change_it(written) -> None:
    before = written()
    text = params.FILE.read_text(encoding="utf-8")
    params.FILE.write_text(text.replace("medium: {}", "medium: {a: 1}"), encoding="utf-8")
    assert params.read()["medium"] == {"a": 1} and written() == before
    params.FILE.write_text(text + "\nown: 1\n", encoding="utf-8")
    assert written() == {**before, "own": 1}
