"""Wrong arguments of a stage end in one line that says what it takes."""

import subprocess
import sys

import pytest

from tests.helpers.tiny import ROOT

WITHOUT_ARGUMENTS = ("decontamination", "table", "visual_tokenizer")
WITH_A_NAME = {
    "download": "coco",
    "evaluate": "vqa",
    "export": "vqa",
    "finetune": "vqa",
    "plan": "medium",
    "pretrain": "main",
    "scale": "medium",
    "shard": "coco",
    "text_tokens": "wikipedia",
    "visual_tokens": "cc3m",
}


def run(stage: str, *arguments: str) -> str:
    """The line that a stage ends with."""
    command = [sys.executable, "-m", f"stages.{stage}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("usage: python -m stages.")
    return done.stderr.rstrip()


@pytest.mark.parametrize("stage", WITHOUT_ARGUMENTS)
def test_a_superfluous_argument(stage: str) -> None:
    assert run(stage, "vqa") == f"usage: python -m stages.{stage}"


@pytest.mark.parametrize("stage", WITH_A_NAME)
def test_an_unknown_name_lists_the_known_ones(stage: str) -> None:
    line = run(stage, "nonsense")
    assert f"python -m stages.{stage} " in line and "; unknown 'nonsense', one of " in line
    assert WITH_A_NAME[stage] in line.partition("one of ")[2].split(", ")


@pytest.mark.parametrize("stage", ["download", "finetune"])
def test_a_missing_name_lists_the_known_ones(stage: str) -> None:
    assert WITH_A_NAME[stage] in run(stage).partition("; one of ")[2].split(", ")


def test_seeds() -> None:
    expected = "usage: python -m stages.seeds SEED...; at least two different numbers"
    assert run("seeds") == run("seeds", "1", "1") == expected
