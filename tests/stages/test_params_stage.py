"""The parameters that DVC reads: a scale's own blocks and the shared ones, nothing of other
scales."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.config import params
from stages import params as stage
from tests.helpers import tiny


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
    tree, found = params.read(), written()
    assert {key for key in found if "/" not in key} == {"small", "items"}
    assert found["small/finetune/vqa/inputs"] == stage.digest(
        tree["small"]["finetune"]["vqa"]["inputs"]
    )
    assert found["small/download/coco/origin"] == "world" and "small/finetune/vqa/lr" not in found


def test_a_number_changes_the_blocks_around_it_and_no_others(written) -> None:
    before = written()
    text = params.FILE.read_text(encoding="utf-8")
    tree = YAML(typ="safe", pure=True).load(text)
    tree["small"]["finetune"]["vqa"]["lr"] = 0.125
    with params.FILE.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(tree, file)
    after = written()
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"small", "small/finetune", "small/finetune/vqa"}


def test_no_entry_is_a_tree(written) -> None:
    """Each of its numbers would be a line of dvc.lock."""
    assert not any(isinstance(value, dict) for value in written().values())


def test_other_scales_do_not_change_it(written) -> None:
    before = written()
    text = params.FILE.read_text(encoding="utf-8")
    params.FILE.write_text(text.replace("medium: {}", "medium: {a: 1}"), encoding="utf-8")
    assert params.read()["medium"] == {"a": 1} and written() == before
    params.FILE.write_text(text + "\nown: {a: 1}\n", encoding="utf-8")
    assert written() == {**before, "own": stage.digest({"a": 1})}
