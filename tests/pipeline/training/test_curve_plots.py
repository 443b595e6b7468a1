"""Figures of losses: which runs are compared."""

from unittest.mock import patch

from matplotlib.axes import Axes

from pipeline.training import curve_plots
from pipeline.training.curves import CurveRow


def rows(steps: int) -> list[CurveRow]:
    return [CurveRow(step, "train", {"mlm": 1.0 / step}) for step in range(1, steps + 1)]


def test_runs_with_as_many_steps_as_most_are_compared(tmp_path):
    curves = {"long": rows(9), "[1] MVLM": rows(4), "[2] MVLM + MIM": rows(4), "empty": []}
    with patch.object(Axes, "plot", autospec=True, side_effect=Axes.plot) as plot:
        curve_plots.compare(curves, tmp_path / "curves.png")
    labels = [call.kwargs["label"] for call in plot.call_args_list]
    assert labels == ["[1] MVLM", "[2] MVLM + MIM"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_without_any_run_there_is_an_empty_figure(tmp_path):
    curve_plots.compare({}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()
