"""fine_tunes.yaml: names that become paths are names."""

import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.errors import UserError
from pipeline.tasks import fine_tunes
from pipeline.utils.entry_point import entry
from stages import evaluate, finetune
from tests.helpers import tiny

GOOD = {
    "title": "anything: at all / even this",
    "task": "vqa",
    "data": "vqav2",
    "params": "vqa",
    "budget": "vqa",
    "pretraining": "main",
    "init": "pretrain/main",
    "table": "table1",
}
NO_NAMES = ["..", "../x", "/tmp/x", "a b", "", "a/../b", "\n"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose params are those of a tiny run."""
    project = tmp_path / "project"
    tiny.write(project, tiny.settings())
    monkeypatch.chdir(project)
    return project


def write(tunes: dict) -> None:
    with open("fine_tunes.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe").dump({"fine_tunes": tunes}, file)


@pytest.mark.parametrize("main", [finetune.main, evaluate.main])
def test_a_key_that_is_a_path_removes_nothing(project, main, monkeypatch, capsys):
    victim = project.parent / "victim"
    victim.mkdir()
    (victim / "params.json").write_text('{"inputs": {}}')
    for name in (str(victim), "../../../../victim"):
        write({name: GOOD})
        monkeypatch.setattr(sys, "argv", ["stages/x.py", name])
        with pytest.raises(SystemExit):
            entry(main, fine_tunes.names)
        line = capsys.readouterr().err
        assert "expected a key of letters, digits, _ and -" in line and line.count("\n") == 1
        assert (victim / "params.json").exists()


@pytest.mark.parametrize("key", [key for key in GOOD if key != "title"])
def test_values_that_become_paths_are_names(project, key):
    write({"good": GOOD})
    assert fine_tunes.load("good").title == GOOD["title"]
    for value in (*NO_NAMES, "runs/x/y") if key == "init" else NO_NAMES:
        write({"bad": {**GOOD, key: value}})
        with pytest.raises(UserError, match=rf"^fine_tunes.yaml: fine_tunes.bad.{key}: expected"):
            fine_tunes.load("bad")
