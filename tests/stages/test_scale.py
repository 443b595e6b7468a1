"""`make scale`: a preset becomes params.yaml, and nobody's edits are lost."""

import subprocess
from pathlib import Path

import pytest

from pipeline.errors import UserError
from stages import scale

SMALL, PAPER = "scale: small\npreset: small\n", "scale: paper\npreset: paper\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with two presets; params.yaml is the first, committed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "small.yaml").write_text(SMALL)
    (tmp_path / "params" / "paper.yaml").write_text(PAPER)
    (tmp_path / "params.yaml").write_text(SMALL)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    return tmp_path


def test_there_and_back(project: Path) -> None:
    scale.main("paper")
    assert (project / "params.yaml").read_text() == PAPER
    scale.main("small")
    assert (project / "params.yaml").read_text() == SMALL


def test_an_edit_is_never_lost(project: Path) -> None:
    edited = SMALL + "a: 1\n"
    (project / "params.yaml").write_text(edited)
    with pytest.raises(UserError, match=r"^params.yaml has changes .* commit them") as caught:
        scale.main("paper")
    assert "\n" not in str(caught.value)
    assert (project / "params.yaml").read_text() == edited
    committed = [
        "git",
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
        "commit",
        "-qam",
        "e",
    ]
    subprocess.run(committed, check=True)
    scale.main("paper")
    assert (project / "params.yaml").read_text() == PAPER


def test_an_unknown_scale_is_named(project: Path) -> None:
    with pytest.raises(UserError, match="^scale: no 'huge'; one of paper, small$"):
        scale.main("huge")
