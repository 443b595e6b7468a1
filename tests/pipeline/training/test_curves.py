"""Curves: crash-safe while a run lasts, CSV when it is published."""

import math

from pipeline.training import curves
from pipeline.training.curves import CurveRow

ROWS = [
    CurveRow(10, "train", {"loss": 0.1 + 0.2, "finite": 1.0}),
    CurveRow(10, "validation", {"mlm_loss": 2.5}),
    CurveRow(20, "train", {"loss": math.inf, "lr": 1e-05}),
]


def test_rows_come_back_from_jsonl_and_a_line_that_was_cut_off_does_not(tmp_path):
    path = tmp_path / "curve.jsonl"
    assert curves.read_jsonl(path) == []
    curves.write_jsonl(path, ROWS[:1])
    for row in ROWS[1:]:
        curves.append_jsonl(path, row)
    assert curves.read_jsonl(path) == ROWS
    path.write_bytes(path.read_bytes()[:-5])
    assert curves.read_jsonl(path) == ROWS[:2]


def test_published_curves_have_a_column_per_value_and_empty_cells_where_a_row_lacks_it(tmp_path):
    curves.publish(ROWS, tmp_path)
    assert (tmp_path / "train.csv").read_text() == (
        "step,loss,finite,lr\n10,0.30000000000000004,1.0,\n20,inf,,1e-05\n"
    )
    assert (tmp_path / "validation.csv").read_text() == "step,mlm_loss\n10,2.5\n"
    assert curves.read_published(tmp_path) == [ROWS[0], ROWS[2], ROWS[1]]


def test_a_published_curve_without_rows_has_its_header(tmp_path):
    curves.publish([], tmp_path)
    assert (tmp_path / "train.csv").read_text() == "step\n"
    assert curves.read_published(tmp_path) == []
