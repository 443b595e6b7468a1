"""Runs in MLflow: what they say, how they end, and that they cost a stage nothing."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.tracking import client as tracking
from pipeline.utils import files

ROOT = Path(__file__).resolve().parents[3]
STAGE = """
import os, signal, sys
from pathlib import Path
from pipeline import tracking
tracking._IDLE = 2.0
with tracking.run("pretrain", stage="pretrain", params={"seed": 1}, work=Path("work")) as run:
    Path("note.txt").write_text("x")
    run.artifact(Path("note.txt"))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One database for all tests: MLflow takes seconds to make it. The path is longer than a
    socket's may be."""
    root = tmp_path_factory.mktemp("project" * 16)
    if tracking.installed():
        client(root).search_experiments()
    yield root
    until(lambda: not writers(root))


@pytest.fixture
def project(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that tracks into itself, as working directory."""
    monkeypatch.chdir(shared)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(tracking, "_IDLE", 2.0)
    for name in ("DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    Path("params.yaml").write_text("scale: small\n")
    return shared


def client(project: Path) -> Any:
    return pytest.importorskip("mlflow.tracking").MlflowClient(f"sqlite:///{project}/mlflow.db")


def until(look: Callable[[], Any]) -> Any:
    """What `look` finds, as soon as it finds something."""
    for _ in range(200):
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def finished(project: Path, name: str) -> Any:
    """The run of this name, once it is over."""
    reader = client(project)

    def over() -> Any:
        experiment = reader.get_experiment_by_name("vl-beit-small")
        found = reader.search_runs([experiment.experiment_id]) if experiment else []
        return next(
            (run for run in found if run.info.run_name == name and run.info.status != "RUNNING"),
            None,
        )

    return until(over)


def writers(project: Path) -> list[int]:
    """Process ids of the writers of this project."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if (
            b"pipeline.tracking.writer" in words
            and words[0] != b"sh"
            and os.fsencode(project) in words
        ):
            found.append(int(path.parent.name))
    return found


def test_a_run_tells_what_a_stage_did_and_resumes(project: Path) -> None:
    files.write_json(Path("shards/index.json"), {"splits": {"train": {"rows": 7}}})
    killed = subprocess.run(
        [sys.executable, "-c", STAGE], capture_output=True
    )  # returns: the writer holds no pipe
    assert killed.returncode == -signal.SIGKILL and not killed.stderr
    first = finished(project, "pretrain")
    assert first.info.status == "KILLED" and first.data.params == {"seed": "1"}

    with tracking.run("pretrain", stage="pretrain", params={"seed": 1}, work=Path("work")) as run:
        run.dataset(Path("shards"), "coco", "training")
        for step in range(4, 1304):
            run.metrics({"loss": 1 / step}, step)
        run.note("**Table**")
    with (
        pytest.raises(ValueError),
        tracking.run(
            "finetune x",
            stage="finetune",
            task="retrieval",
            variant="main",
            table="table 2",
            params={"a": {"b": [1, 2]}},
        ),
    ):
        raise ValueError

    resumed, failed = finished(project, "pretrain"), finished(project, "finetune x")
    assert resumed.info.run_id == first.info.run_id and resumed.info.status == "FINISHED"
    assert resumed.data.metrics == {"loss": 1 / 1303}
    data = resumed.inputs.dataset_inputs[0].dataset
    assert (data.name, data.profile, data.source) == (
        "coco",
        '{"train rows": 7}',
        '{"uri": "shards"}',
    )
    assert failed.info.status == "FAILED" and failed.data.params == {"a.b": "[1, 2]"}
    tags = {
        "stage": "finetune",
        "dvc.stage": "finetune",
        "task": "retrieval",
        "variant": "main",
        "table": "table 2",
        "scale": "small",
    }
    assert tags.items() <= failed.data.tags.items() and "git.commit" in failed.data.tags
    assert list(Path("mlruns").rglob("note.txt"))


def test_models_are_registered_and_answer(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    import pandas as pd

    from model import checkpoint
    from model.backbone.config import BackboneConfig
    from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
    from pipeline.inference import mlflow_pyfunc

    backbone = BackboneConfig(
        image_size=16,
        patch_size=8,
        depth=1,
        embed_dim=8,
        num_heads=2,
        mlp_dim=16,
        vocab_size=40,
        text_length=8,
        experts="mome",
        drop_path=0.0,
        init_std=0.02,
    )
    checkpoint.save(MaskedModeling(MaskedModelingConfig(backbone, codebook_size=4)), Path("model"))
    with tracking.run("served", stage="pretrain", params={}) as run:
        run.model(Path("model"), "vl-beit-pretrained")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    served = mlflow.pyfunc.load_model("models:/vl-beit-pretrained@current")
    answers = served.predict(pd.concat([mlflow_pyfunc.example()] * 2))
    assert list(answers.columns) == ["image_embedding"] and len(answers["image_embedding"][0]) == 8
    assert served.metadata.signature.inputs.input_names() == ["image", "image2", "text"]


def test_the_documentations_example_runs(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    from dataclasses import replace

    from model import checkpoint
    from model.heads.vqa import VQA, VQAConfig
    from pipeline.inference import mlflow_pyfunc
    from tests.helpers.doc_examples import run_example, write_tokenizer
    from tests.helpers.toy import BACKBONE

    checkpoint.save(
        VQA(VQAConfig(replace(BACKBONE, vocab_size=write_tokenizer(Path("words"))), ("ring",))),
        Path("vqa"),
    )
    with tracking.run("asked", stage="finetune", params={}) as run:
        run.model(Path("vqa"), "vl-beit-vqa", Path("words/spm.model"))
    Path("picture.jpg").write_bytes(mlflow_pyfunc.example()["image"][0])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")  # the example names its own
    run_example("docs/use.md", "From MLflow")
    assert capsys.readouterr().out == "['ring']\n"


def test_a_stage_does_not_wait_for_a_writer_that_is_still_starting(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, _deaf = socket.socketpair()
    monkeypatch.setattr(tracking, "_connection", lambda: stage)
    monkeypatch.setattr(tracking, "installed", lambda: True)
    with tracking.run("shard", stage="shard", params={}) as run:
        run.metrics({f"metric {number}": 1.0 for number in range(499)})


def test_one_writer_serves_stages_one_after_the_other_and_at_once(project: Path) -> None:
    pytest.importorskip("mlflow")
    with ExitStack() as stack:
        runs = [
            stack.enter_context(tracking.run(f"side {number}", stage="shard", params={}))
            for number in range(2)
        ]
        for run in runs:
            run.artifact(Path("params.yaml"))
            run.metrics({"rows": 1.0})
    with tracking.run("after", stage="shard", params={}) as run:
        run.artifact(Path("params.yaml"))
        assert len(writers(project)) == 1
    assert {finished(project, name).info.status for name in ("side 0", "side 1", "after")} == {
        "FINISHED"
    }


def test_a_stage_survives_its_writer_and_the_next_ones_start_one_other(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    with tracking.run("orphaned", stage="shard", params={}) as run:
        run.artifact(Path("params.yaml"))
        [first] = writers(project)
        os.kill(first, signal.SIGKILL)
        run.artifact(Path("params.yaml"))
        run.metrics({"rows": 1.0})
    assert (
        capfd.readouterr().err == "tracking: the writer has ended early; see .work/tracking.log\n"
    )
    with ThreadPoolExecutor() as pool:
        for connection in list(pool.map(lambda _: tracking._connection(), range(4))):
            connection.close()
    with tracking.run("next", stage="shard", params={}) as run:
        run.artifact(Path("params.yaml"))
        [second] = writers(project)
    assert second != first and finished(project, "next").info.status == "FINISHED"


def test_the_run_of_a_short_stage_arrives(project: Path) -> None:
    pytest.importorskip("mlflow")
    with tracking.run("shard", stage="shard", params={}) as run:
        run.metrics({"rows": 1.0})
    assert finished(project, "shard").data.metrics == {"rows": 1.0}


def test_without_mlflow_nothing_is_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracking, "installed", lambda: False)
    with tracking.run("shard", stage="shard", params={}) as run:
        run.metrics({"rows": 1.0})
        run.artifact(Path("absent"))
    assert not list(tmp_path.iterdir())


def test_a_broken_server_does_not_stop_the_stage(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    with tracking.run("shard", stage="shard", params={}) as run:
        run.artifact(Path("params.yaml"))
        run.metrics({"rows": 1.0})
    assert capfd.readouterr().err.startswith("tracking: open failed: ")


def test_a_database_that_is_deleted_is_made_again(project: Path) -> None:
    pytest.importorskip("mlflow")
    for name in ("before", "afresh"):
        with tracking.run(name, stage="shard", params={}) as run:
            run.artifact(Path("params.yaml"))
        Path("mlflow.db").rename("aside.db")
    with closing(sqlite3.connect("aside.db")) as database:
        assert database.execute("SELECT name FROM runs").fetchall() == [("afresh",)]
