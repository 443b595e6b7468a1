"""Runs of models that have none in MLflow, made from what a pipeline has published."""

from pathlib import Path

import pytest

from model import checkpoint
from pipeline.inference import import_runs
from pipeline.tokenizers import text
from pipeline.tracking import spool
from pipeline.training import curves
from pipeline.training.curves import CurveRow
from pipeline.utils import files
from tests.helpers import tiny
from tests.helpers.exported import model_of, write_data

ROWS = [CurveRow(2, "train", {"loss": 2.5, "finite": 1.0}), CurveRow(4, "train", {"loss": 1.5})]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fine-tune and its evaluation after `dvc pull`, as working directory."""
    for name in ("DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(tiny.ROOT))
    monkeypatch.setattr(spool, "IDLE_SECONDS", 1.0)
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path, tiny.settings())
    vocab_size = write_data(Path("data/small"))
    for run, item in (("pretrain/main", "main"), ("finetune/vqa", "vqa")):
        folder = Path("runs/small", run)
        checkpoint.save(model_of(item, vocab_size), folder / "model")
        text.put_into(folder / "model", Path("data/small/text_tokenizer/spm.model"))
        curves.publish(ROWS, folder)
    files.write_json(Path("runs/small/finetune/vqa/params.json"), {"lr": 0.0005})
    files.write_json(
        Path("results/small/evaluate/vqa.json"), {"headline": {"test_dev": 0.5, "score": 0.493}}
    )
    return tmp_path


def test_a_run_has_parameters_curves_scores_and_the_model(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mlflow = pytest.importorskip("mlflow")
    import_runs.main()
    assert capsys.readouterr().out.endswith("2 of 2 models had no run; `make ui` shows them\n")
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("vl-beit-small").experiment_id
    tuned, pretrained = client.search_runs([experiment], order_by=["start_time DESC"])
    assert tuned.info.run_name == "finetune VQAv2" and tuned.data.params == {"lr": "0.0005"}
    assert tuned.data.metrics == {"train/loss": 1.5, "vqav2_test_dev": 50.0, "score": 49.3}
    assert tuned.data.tags["init.run_id"] == pretrained.info.run_id
    assert pretrained.data.params["budget"] == "main"
    version = client.get_model_version_by_alias("vl-beit-vqa", "current")
    assert version.run_id == tuned.info.run_id and version.tags["score"] == "49.30"
    assert version.description.startswith("# VL-BEiT: VQAv2")

    import_runs.main()
    assert capsys.readouterr().out == "0 of 2 models had no run; `make ui` shows them\n"
