"""What the terminal shows of a training run."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.tracking.client import Run
from pipeline.training import curve_logger, curves
from pipeline.training.curve_logger import CurveLogger
from pipeline.training.curves import CurveRow


class Tracked(Run):
    """A run that keeps the last metrics."""

    def __init__(self) -> None:
        super().__init__(None)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        self.last = values


def test_lines_say_how_far_and_how_fast_and_files_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([100.0, 105.0])
    monkeypatch.setattr(curve_logger.time, "monotonic", lambda: next(now))
    run = Tracked()
    logger = CurveLogger(tmp_path / "curve.jsonl", [], 0, 220, run)
    logger.train(50, {"loss": 2.5, "finite": 1.0, "lr": 0.001})
    logger.validation(50, {"score": 0.75})
    assert capsys.readouterr().err.splitlines() == [
        "train step 50 of 220: loss 2.5 lr 0.001, 10 steps/s, 0:17 left",
        "validation step 50 of 220: score 0.75",
    ]
    assert curves.read_jsonl(tmp_path / "curve.jsonl") == [
        CurveRow(50, "train", {"loss": 2.5, "finite": 1.0, "lr": 0.001}),
        CurveRow(50, "validation", {"score": 0.75}),
    ]
    assert run.last == {"validation/score": 0.75}


def test_a_line_has_what_changes_and_not_what_gains_are_made_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {
        "mlm_loss": 2.0,
        "mlm_chance": 0.001,
        "mvlm_text_right_loss": 2.0,
        "mvlm_text_none_accuracy": 0.5,
        "mvlm_text_gain": 0.125,
        "mvlm_text_gain_error": 0.01,
    }
    run = Tracked()
    CurveLogger(tmp_path / "curve.jsonl", [], 0, 9, run).validation(9, values)
    line = "validation step 9 of 9: mlm_loss 2 mvlm_text_gain 0.125"
    assert capsys.readouterr().err.splitlines() == [line]
    assert curves.read_jsonl(tmp_path / "curve.jsonl") == [CurveRow(9, "validation", values)]
    assert "validation/mlm_chance" not in run.last
