"""Runs in MLflow: what they record, how they end, what they survive, and that no stage waits for
them."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from pipeline.errors import UserError
from pipeline.tracking import client as tracking
from pipeline.tracking import registry, spool, writer
from pipeline.utils import files
from stages import ui

ROOT = Path(__file__).resolve().parents[3]
KILLED_STAGE = """
import os, signal, sys
from pathlib import Path
from pipeline.tracking import client as tracking, spool
spool.IDLE_SECONDS = 3.0
with tracking.run("pretrain", stage="pretrain", params={"seed": 1}, work_dir=Path("work")) as run:
    Path("note.txt").write_text("x")
    run.artifact(Path("note.txt"))
    run.metrics({"loss": 7.0}, 0)
    if sys.argv[1:]:  # the writer with it
        os.kill(int(sys.argv[1]), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One database for all tests, which MLflow takes seconds to make, in a folder whose name has
    all that URLs quote."""
    root = tmp_path_factory.mktemp("parent") / "a%20b?c=d#e f é"
    root.mkdir()
    link(root).symlink_to(root)
    with working_in(root):
        if tracking.installed():
            client().search_experiments()
            shutil.copyfile("mlflow.db", "empty.db")
        yield root
        until(lambda: not writers(root))
    assert [path.name for path in root.parent.iterdir()] == [root.name]


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    yield
    os.chdir(before)


@pytest.fixture
def plain(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path
) -> Iterator[Path]:
    """Another project as working directory, in a folder from which MLflow can load models: it takes
    paths of models for URLs."""
    pytest.importorskip("mlflow")
    shutil.copyfile(shared / "empty.db", tmp_path / "mlflow.db")
    shutil.copyfile(shared / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    until(lambda: not writers(tmp_path))


@pytest.fixture
def project(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that tracks into itself, as working directory."""
    monkeypatch.chdir(shared)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(spool, "IDLE_SECONDS", 3.0)
    for name in ("DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    Path("params.yaml").write_text("scale: small\npreset: small\n")
    shutil.rmtree("work", ignore_errors=True)
    Path("work").mkdir()
    return shared


def link(root: Path) -> Path:
    """A path of the shared project that no URL quotes."""
    return Path(f"{root.parent}-link")


def uri() -> str:
    """The database of the shared project, the working directory. It is absolute, because MLflow
    keeps connections by their URI."""
    return f"sqlite:///{link(Path.cwd())}/mlflow.db"


def client() -> Any:
    return pytest.importorskip("mlflow.tracking").MlflowClient(uri())


def until(look: Callable[[], Any]) -> Any:
    """The first result of `look` that is true."""
    for _ in range(600):
        if result := look():
            return result
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def runs(name: str) -> list[Any]:
    """The runs of this name, the newest first."""
    experiment = client().get_experiment_by_name("vl-beit-small")
    if experiment is None:
        return []
    return client().search_runs([experiment.experiment_id], f"run_name = '{name}'")


def written() -> bool:
    """Whether the writer has written all runs."""
    return not spool.pending(spool.folder())


def ended(name: str) -> Any:
    """The newest run of this name, once all runs are written."""
    until(written)
    run = runs(name)[0]
    assert run.info.status != "RUNNING"
    return run


def short_stage(name: str, work_dir: Path | None = None) -> None:
    with tracking.run(name, stage="shard", params={}, work_dir=work_dir) as run:
        run.metrics({"rows": 1.0})


def writers(project: Path) -> list[int]:
    """Process ids of the writers of this project."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        is_writer = b"pipeline.tracking.writer" in words and words[0] != b"sh"
        if is_writer and os.fsencode(project / ".work/tracking") in words:
            pids.append(int(path.parent.name))
    return pids


def is_unlocked() -> bool:
    """Whether no writer holds the lock. A killed process frees it a little after it has gone."""
    with open(spool.folder() / "writer.lock") as lock:
        return spool.try_lock(lock)


def test_a_run_has_what_a_stage_recorded_and_a_killed_stage_resumes_it(project: Path) -> None:
    files.write_json(Path("shards/index.json"), {"splits": {"train": {"rows": 7}}})
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_STAGE], capture_output=True, check=False
    )  # returns: the writer holds no pipe
    assert killed.returncode == -signal.SIGKILL and not killed.stderr
    first = ended("pretrain")
    assert first.info.status == "KILLED" and first.data.params == {"seed": "1"}

    with tracking.run(
        "pretrain", stage="pretrain", params={"seed": 1}, work_dir=Path("work")
    ) as run:
        run.dataset(Path("shards"), "coco", "training")
        for step in range(4, 2304):
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

    resumed, failed = ended("pretrain"), ended("finetune x")
    assert resumed.info.run_id == first.info.run_id and resumed.info.status == "FINISHED"
    assert resumed.data.metrics == {"loss": 1 / 2303}
    assert len(client().get_metric_history(first.info.run_id, "loss")) == 2301
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
    assert tags.items() <= failed.data.tags.items()
    assert list(Path("mlruns").rglob("note.txt"))


def test_models_are_registered_and_answer(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        run.model(Path("model"), "pretrain/main")
    weights = Path("model/model.safetensors")
    with tracking.run("again", stage="pretrain", params={}) as run:  # with the same bytes
        run.model(Path("model"), "pretrain/main", {"score": "49.30"})
    with tracking.run("tuned", stage="finetune", params={}) as run:
        run.started_from("init", weights, "pretrain/main")
    until(written)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{plain}/mlflow.db")
    store = mlflow.MlflowClient()
    [version] = store.search_model_versions("name = 'vl-beit-pretrained-main'")
    assert version.tags == {"sha256": files.sha256(weights), "score": "49.30"}
    experiment = store.get_experiment_by_name("vl-beit-small").experiment_id
    tuned, again, first = store.search_runs([experiment], order_by=["start_time DESC"])
    model = version.source.removeprefix("models:/")
    for run in (first, again):
        assert [output.model_id for output in run.outputs.model_outputs] == [model]
    tuned = store.get_run(tuned.info.run_id)
    assert [made.model_id for made in tuned.inputs.model_inputs] == [model]
    assert tuned.data.tags["init"] == "pretrain/main"
    assert tuned.data.tags["init.run_id"] == again.info.run_id
    served = mlflow.pyfunc.load_model("models:/vl-beit-pretrained-main@current")
    answers = served.predict(pd.concat([mlflow_pyfunc.example()] * 2))
    assert (
        list(answers.columns) == ["image_embedding", "error"]
        and len(answers["image_embedding"][0]) == 8
    )
    assert served.metadata.signature.inputs.input_names() == ["image", "image2", "text"]


def evaluate(model: str, seed: int) -> None:
    """What an evaluation records of the model in the folder `model`; the run that made it had this
    seed."""
    tracked = tracking.run_of(
        model, Path("model"), model, stage="finetune", table="table1", params={"seed": seed}
    )
    with tracked as run:
        run.metrics({"score": 49.3})
        run.tags({"evaluate.rerank_k": seed})


@pytest.fixture
def weights(project: Path) -> Path:
    """The file of weights of a model that is none."""
    path = Path("model/model.safetensors")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(os.urandom(8))  # of no other test
    return path


def test_an_evaluation_goes_on_with_the_run_that_made_the_model(weights: Path) -> None:
    pytest.importorskip("mlflow")
    with tracking.run("finetune/a", stage="finetune", params={"seed": 1}) as run:
        run.made(weights, "finetune/a")
    before = ended("finetune/a")
    evaluate("finetune/a", seed=2)
    evaluate("finetune/a", seed=3)
    until(written)
    [after] = runs("finetune/a")
    assert after.data.params == {"seed": "1"} and after.data.metrics == {"score": 49.3}
    assert after.data.tags["evaluate.rerank_k"] == "3"
    assert (after.info.status, after.info.end_time) == ("FINISHED", before.info.end_time)


@pytest.mark.parametrize("change", ["deleted", "other weights", "other model"])
def test_an_evaluation_of_a_model_whose_run_is_gone_has_one_of_its_own(
    weights: Path, change: str
) -> None:
    pytest.importorskip("mlflow")
    name = f"finetune/{change}"
    with tracking.run(name, stage="finetune", params={"seed": 1}) as run:
        run.made(weights, "finetune/alike" if change == "other model" else name)
    first = ended(name)
    if change == "deleted":
        client().delete_run(first.info.run_id)
    if change == "other weights":
        weights.write_bytes(os.urandom(8))
    evaluate(name, seed=1)
    new = ended(name)
    assert new.info.run_id != first.info.run_id and new.info.status == "FINISHED"
    assert new.data.params == {"seed": "1"} and new.data.metrics == {"score": 49.3}
    assert new.data.tags["dvc.stage"] == name.replace("/", "@")
    assert new.data.tags["table"] == "table1"


def test_the_documentations_example_runs(
    plain: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
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
        shutil.copyfile("words/spm.model", "vqa/spm.model")
        run.model(Path("vqa"), "finetune/vqa")
    until(written)
    Path("image.jpg").write_bytes(mlflow_pyfunc.example()["image"][0])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")  # the example names its own
    run_example("docs/use.md", "From MLflow")
    assert capsys.readouterr().out == "['ring']\n"


def test_a_stage_does_not_wait_for_the_writer(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(written)
    with monkeypatch.context() as patch:
        patch.setattr(spool, "start_writer", lambda: False)
        patch.setattr(tracking, "installed", lambda: True)
        short_stage("alone")
        assert not written() or writers(project)
    if tracking.installed():
        short_stage("after it")
        assert ended("alone").data.metrics == {"rows": 1.0}


def test_one_writer_serves_stages_one_after_the_other_and_at_once(project: Path) -> None:
    pytest.importorskip("mlflow")
    with ExitStack() as stack:
        contexts = [tracking.run(f"side {number}", stage="shard", params={}) for number in range(2)]
        for run in [stack.enter_context(context) for context in contexts]:
            run.artifact(Path("params.yaml"))
            run.metrics({"rows": 1.0})
    with tracking.run("after", stage="shard", params={}):
        assert len(writers(project)) == 1
    assert [ended(name).info.status for name in ("side 0", "side 1", "after")] == ["FINISHED"] * 3


def test_a_stage_survives_its_writer_and_another_one_goes_on(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    with tracking.run("orphaned", stage="shard", params={}) as run:
        run.metrics({"rows": 1.0}, 0)
        until(lambda: runs("orphaned"))
        [pid] = writers(project)
        os.kill(pid, signal.SIGKILL)
        until(is_unlocked)
        run.metrics({"rows": 2.0}, 1)
    assert capfd.readouterr().err == (
        "tracking: the writer had ended early, see .work/tracking.log; another one goes on\n"
    )
    with ThreadPoolExecutor() as pool:
        assert not any(pool.map(lambda _: spool.start_writer(), range(4)))
    until(lambda: len(writers(project)) == 1)
    [run] = [ended("orphaned"), *runs("orphaned")[1:]]
    assert run.info.status == "FINISHED"
    assert len(client().get_metric_history(run.info.run_id, "rows")) == 2


def test_a_run_of_a_killed_stage_and_a_killed_writer_is_closed_by_the_next_stage(
    project: Path,
) -> None:
    pytest.importorskip("mlflow")
    short_stage("before")
    until(written)
    [pid] = writers(project)
    subprocess.run([sys.executable, "-c", KILLED_STAGE, str(pid)], check=False)
    until(is_unlocked)
    assert not written()
    short_stage("next")
    killed = ended("pretrain")
    assert killed.info.status == "KILLED" and killed.data.metrics == {"loss": 7.0}
    assert killed.info.run_id == Path("work/run_id").read_text()


def test_a_deleted_experiment_is_restored(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mlflow")
    line = "tracking: experiment vl-beit-small had been deleted; it is restored, with its runs\n"
    short_stage("one")
    experiment = ended("one").info.experiment_id
    client().delete_experiment(experiment)
    with tracking.run("two", stage="shard", params={}) as run:
        until(lambda: runs("two"))
        client().delete_experiment(experiment)
        run.metrics({"rows": 5.0})
        until(lambda: client().get_experiment(experiment).lifecycle_stage == "active")
        until(lambda: client().get_run(runs("two")[0].info.run_id).data.metrics)
    assert ended("two").data.metrics == {"rows": 5.0} and ended("one")
    assert capfd.readouterr().err == 2 * line


def test_the_link_of_the_user_interface_restores_a_deleted_experiment(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    short_stage("shown")
    experiment = ended("shown").info.experiment_id
    client().delete_experiment(experiment)
    assert ui.experiment_of(client(), "small") == experiment
    assert f":5001/#/experiments/{experiment}/runs" in ui.link(client(), experiment, "5001")
    assert "restored" in capsys.readouterr().out and runs("shown")
    with pytest.raises(UserError, match="no experiment vl-beit-none"):
        ui.experiment_of(client(), "none")


def test_the_user_interface_says_what_to_do_where_it_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    Path("params.yaml").write_text("scale: small\npreset: small\n")
    with pytest.raises(UserError, match="mlflow.db: not found; run `dvc repro`"):
        ui.main()
    files.write_json(Path("runs/small/finetune/vqa/model/model.safetensors"), {})
    with pytest.raises(UserError, match="mlflow.db: not found; `make import-runs`"):
        ui.main()
    Path("mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port}: .*make ui PORT=5001"):
            ui.main(str(port))


def test_current_is_the_version_that_stands_in_the_workspace(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    standing = Path("runs/small/finetune/aliased/model/model.safetensors")
    standing.parent.mkdir(parents=True)
    name = "vl-beit-aliased"
    client().create_registered_model(name)
    for number in range(2):
        standing.write_text(str(number))
        client().create_model_version(
            name, "s3://bucket/model", tags={"sha256": files.sha256(standing)}
        )

    def current() -> dict[str, int]:
        return client().get_registered_model(name).aliases

    def tabulate() -> None:
        with tracking.run("table", stage="table", params={}) as run:
            run.current(registry.in_workspace("small"))
        until(written)

    tabulate()
    assert current() == {"current": 2}
    standing.write_text("0")
    ui.make_current(client(), "small")
    assert current() == {"current": 1}
    with monkeypatch.context() as patch:  # as in an experiment's copy of the workspace
        patch.setattr(tracking, "_is_in_workspace", lambda: False)
        standing.write_text("1")
        tabulate()
    assert current() == {"current": 1}
    standing.write_text("weights that were never registered")
    tabulate()
    assert current() == {}
    shutil.rmtree("runs")


@pytest.mark.parametrize("is_gone", [False, True], ids=["deleted", "gone"])
def test_a_resumed_run_that_was_deleted_is_restored_or_replaced(
    project: Path, capfd: pytest.CaptureFixture[str], is_gone: bool
) -> None:
    pytest.importorskip("mlflow")
    short_stage("resumed", Path("work"))
    first = ended("resumed").info.run_id
    client().delete_run(first)
    if is_gone:
        remove_run(first)
    with tracking.run("resumed", stage="shard", params={}, work_dir=Path("work")):
        until(lambda: runs("resumed"))
    second = ended("resumed").info.run_id
    assert (second == first) is not is_gone and Path("work/run_id").read_text() == second
    expected = (
        f"tracking: run {first} is gone; a new one replaces it\n"
        if is_gone
        else "tracking: run 'resumed' had been deleted; it is restored\n"
    )
    assert capfd.readouterr().err == expected
    client().delete_run(second)


@pytest.mark.parametrize("is_gone", [False, True], ids=["deleted", "gone"])
def test_a_run_that_is_deleted_while_its_stage_goes_on_is_restored_or_replaced(
    project: Path, is_gone: bool
) -> None:
    pytest.importorskip("mlflow")
    with tracking.run(f"live {is_gone}", stage="shard", params={"seed": 3}) as run:
        run.metrics({"rows": 1.0}, 0)
        [first] = until(lambda: runs(f"live {is_gone}"))
        until(lambda: client().get_run(first.info.run_id).data.metrics)
        client().delete_run(first.info.run_id)
        if is_gone:
            remove_run(first.info.run_id)
        run.metrics({"rows": 2.0}, 1)
    second = ended(f"live {is_gone}")
    assert second.info.status == "FINISHED" and second.data.params == {"seed": "3"}
    assert len(client().get_metric_history(second.info.run_id, "rows")) == 2
    assert (second.info.run_id == first.info.run_id) is not is_gone


def remove_run(run_id: str) -> None:
    """As `mlflow gc` does."""
    client()._tracking_client.store._hard_delete_run(run_id)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_is_killed_not_failed(project: Path, end: type[BaseException]) -> None:
    pytest.importorskip("mlflow")
    with pytest.raises(end), tracking.run(end.__name__, stage="shard", params={}):
        raise end
    assert ended(end.__name__).info.status == "KILLED"


def test_what_mlflow_refuses_does_not_take_others_along(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    params = {"seed": 1, "a$%": 2, "../up": 3, "x" * 300: 4}
    with tracking.run("picky", stage="shard", params=params) as run:
        run.metrics({"good": 1.0, "bad$%": 2.0, "../up": 3.0, "x" * 300: 4.0, "nan": float("nan")})
        run.metrics({"good": 2.0, "late": 5.0}, 1)
        run.metrics({"far": 1.0}, 2**70)
    data = ended("picky").data
    assert data.params == {"seed": "1"}
    assert data.metrics.keys() == {"good", "nan", "late"} and data.metrics["good"] == 2.0
    short_stage("next")
    err = capfd.readouterr().err
    assert "tracking: open failed: ValueError: refused: 'a$%': " in err and "(and 2 more)" in err
    until(written)


@pytest.mark.parametrize("run_id", [b"", b"\0" * 32, b"no such run", b"\xff\xfe"])
def test_damaged_files_of_a_run_cost_it_no_more_than_themselves(
    project: Path, run_id: bytes
) -> None:
    pytest.importorskip("mlflow")
    Path("work/run_id").write_bytes(run_id)
    name = f"damaged {run_id.hex()}"
    with tracking.run(name, stage="shard", params={}, work_dir=Path("work")) as run:
        run.metrics({"rows": 1.0})
        assert run._records is not None
        with open(run._records.name, "ab") as records:
            records.writelines(
                [b"\0" * 40 + b"\n", b"{\n", b"[1]\n", b"{}\n", b"\xff\n", b"null\n"]
            )
        (spool.pending(spool.folder())[-1] / "attempts").write_bytes(run_id)
        run.metrics({"rows": 2.0}, 1)
    done = ended(name)
    assert (done.info.status, done.data.metrics) == ("FINISHED", {"rows": 2.0})
    spool.print_messages()  # for the next test to have none


def test_a_database_that_another_program_has_locked_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Busy(Exception):
        error_code = "TEMPORARILY_UNAVAILABLE"

    calls = []

    def work() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise Busy

    monkeypatch.setattr(writer, "POLL_SECONDS", 0.0)
    writer._patiently(work)
    assert len(calls) == 3
    monkeypatch.setattr(writer, "PATIENCE", 0.0)
    calls.clear()
    with pytest.raises(Busy):
        writer._patiently(work)


def test_a_server_that_never_answers_ends_the_run_and_not_the_others(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    until(lambda: not writers(project))  # the next one has this environment
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        short_stage("mute")
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        short_stage("beside it")
        assert ended("beside it").info.status == "FINISHED"
    short_stage("after")
    err = capfd.readouterr().err
    assert err.count("tracking: open failed: ") == 1
    until(written)


def test_a_run_that_ends_its_writer_every_time_is_given_up(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    with tracking.run("deadly", stage="shard", params={}) as run:
        [folder] = until(lambda: spool.pending(spool.folder()))
        until((folder / "run_id").exists)
        (folder / "attempts").write_text("5")
        os.kill(writers(project)[0], signal.SIGKILL)
        until(is_unlocked)
        run.metrics({"rows": 1.0})
    until(written)
    short_stage("harmless")
    assert "given up after 5 attempts" in capfd.readouterr().err
    deadly = ended("deadly")
    assert (deadly.info.status, deadly.data.metrics) == ("FINISHED", {})
    assert ended("harmless").info.status == "FINISHED"


def test_a_run_that_lasts_has_metrics_of_the_machine(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    until(lambda: not writers(project))  # the next one has this environment
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    with tracking.run("long", stage="pretrain", params={}):
        until(lambda: runs("long") and runs("long")[0].data.metrics)
    assert "system/cpu_utilization_percentage" in ended("long").data.metrics
    until(lambda: not writers(project))


def test_the_run_of_a_short_stage_arrives(project: Path) -> None:
    pytest.importorskip("mlflow")
    short_stage("short")
    assert ended("short").data.metrics == {"rows": 1.0}


def test_without_mlflow_nothing_is_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracking, "installed", lambda: False)
    with tracking.run("shard", stage="shard", params={}) as run:
        run.metrics({"rows": 1.0})
        run.artifact(Path("absent"))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_recorded_is_one_line_and_the_stage_goes_on(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    with tracking.run("clumsy", stage="shard", params={"path": Path("x")}) as run:
        run.artifact(Path("absent"))
        run.dataset(Path("absent"), "coco", "training")
        run.metrics({"rows": 2.0})
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("tracking: not recorded: ") for line in lines)
    assert ended("clumsy").data.metrics == {"rows": 2.0}


def test_a_folder_that_cannot_be_written_does_not_stop_the_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(tracking, "installed", lambda: True)
    Path("params.yaml").write_text("scale: small\npreset: small\n")
    Path(".work").write_text("a file")
    short_stage("shard")
    assert "tracking: not recorded: " in capfd.readouterr().err


def test_a_broken_server_does_not_stop_the_stage(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    short_stage("lost")
    until(written)
    short_stage("next")
    assert capfd.readouterr().err.startswith("tracking: open failed: ")


def test_a_database_that_is_deleted_is_made_again(project: Path) -> None:
    pytest.importorskip("mlflow")
    short_stage("before")
    until(written)
    Path("mlflow.db").rename("aside.db")
    short_stage("afresh")
    until(written)
    with closing(sqlite3.connect("mlflow.db")) as database:
        assert database.execute("SELECT name FROM runs").fetchall() == [("afresh",)]
    Path("aside.db").rename("mlflow.db")  # whose connections this process has open


@pytest.mark.slow
def test_a_writer_that_is_killed_while_it_makes_the_database_does_not_spoil_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((project / "params.yaml").read_text())
    short_stage("first")
    for _ in range(2):
        until(Path("mlflow.db.partial").exists)
        time.sleep(0.3)
        os.kill(writers(tmp_path)[0], signal.SIGKILL)
        until(is_unlocked)
        Path("mlflow.db.partial").unlink(missing_ok=True)
        short_stage("next")
    until(written)
    with closing(sqlite3.connect("mlflow.db")) as database:
        assert database.execute("SELECT name FROM runs").fetchall() == [
            ("first",),
            ("next",),
            ("next",),
        ]
    until(lambda: not writers(tmp_path))


@pytest.mark.slow
def test_the_user_interface_shows_runs_and_artifacts(project: Path) -> None:
    pytest.importorskip("mlflow")
    with tracking.run("served", stage="shard", params={}) as run:
        run.artifact(Path("params.yaml"))
    run_id = ended("served").info.run_id
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", f"from stages import ui; ui.main('{port}')"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("runs by table: http://127.0.0.1:")
        address = f"http://127.0.0.1:{port}"
        until(lambda: fetched(f"{address}/health"))
        text = until(lambda: fetched(f"{address}/api/2.0/mlflow/runs/get?run_id={run_id}"))
        assert '"FINISHED"' in text
        artifact = f"{address}/get-artifact?path=params.yaml&run_uuid={run_id}"
        assert fetched(artifact) == "scale: small\npreset: small\n"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def fetched(url: str) -> str:
    """What a URL gives, nothing while there is no server."""
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.read().decode()
    except URLError:
        return ""
