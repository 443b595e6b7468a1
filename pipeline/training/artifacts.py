"""What every training run publishes."""

from pathlib import Path

from model.checkpoint import Pretrained
from pipeline.training import curve_plots, curves
from pipeline.training.curves import CurveRow
from pipeline.utils import model_folder, workdir


def finish(model: Pretrained, work_dir: Path, title: str) -> tuple[Path, list[CurveRow]]:
    """Write the model, its curves as CSV and their plot into `work_dir`'s folder for publication.

    Returns that folder, and the rows of the curve.

    Raises:
        UserError: the model's weights are no finite numbers.
    """
    folder = workdir.finished(work_dir)
    model_folder.save(model, folder / "model")
    rows = curves.read_jsonl(work_dir / curves.JSONL)
    curves.publish(rows, folder)
    curve_plots.plot(curves.read_published(folder), folder / "curves.png", title=title)
    return folder, rows
