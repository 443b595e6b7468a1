"""Models in MLflow's registry, served in an environment that MLflow makes for them."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest

from model import checkpoint
from model.heads.vqa import VQA, VQAConfig
from pipeline.inference import predictor
from pipeline.tracking import served_model
from tests.helpers.doc_examples import WORDS, write_tokenizer
from tests.helpers.image_files import encoded, scene
from tests.helpers.toy import BACKBONE

ANSWERS = ("ring", "star", "no")
URI = "models:/vl-beit-vqa/1"
PATIENCE = 900  # seconds, to install the environment
SPACE = 8e9  # bytes of the environment with torch's build for CUDA, and of what is downloaded


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A registered model in a store of its own, as working directory."""
    mlflow = pytest.importorskip("mlflow")
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        size = write_tokenizer(Path("vqa"))
        checkpoint.save(VQA(VQAConfig(replace(BACKBONE, vocab_size=size), ANSWERS)), Path("vqa"))
        mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")
        with mlflow.start_run() as run:
            served_model.log(Path("vqa").resolve(), run.info.run_id, "vl-beit-vqa")
        yield root
        mlflow.set_tracking_uri(None)


def test_a_version_pins_what_it_was_logged_with_and_what_that_requires(project: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    folder = Path(mlflow.artifacts.download_artifacts(URI))
    pinned = dict(line.split("==") for line in (folder / "requirements.txt").read_text().split())
    assert {*served_model.PACKAGES, "pillow", "starlette"} <= set(pinned)
    assert pinned["mlflow"] == version("mlflow")
    # of two packages with one folder the last to be installed would win
    assert "pillow-simd" not in pinned and "post" not in pinned["pillow"]
    # whoever serves it has another build of torch, and another patch release of Python
    assert not any("+" in found for found in pinned.values())
    assert not any(name.startswith(served_model.BUILD) for name in pinned)
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"python: '{minor}'\n" in (folder / "python_env.yaml").read_text()


@pytest.mark.slow
def test_a_model_is_served_in_an_environment_of_its_own(project: Path, tmp_path: Path) -> None:
    skip_without_index(tmp_path)
    image = encoded(scene(), "PNG")
    with server(tmp_path / "environments") as address:
        found = ask(address, ["image", "text"], [encode(image), WORDS[0]])
        with pytest.raises(HTTPError) as refused:
            ask(address, ["image"], [encode(image)])
    expected = dict(predictor.load(project / "vqa").answers(image, WORDS[0]))
    answers = dict(zip(found["answers"], found["probabilities"], strict=True))
    assert answers == pytest.approx(expected, abs=0.01)  # pillow-simd rounds otherwise
    assert refused.value.code == 400
    reason = "a model of the kind VQA reads image, text; given: image"
    assert json.load(refused.value)["message"].endswith(reason)


def skip_without_index(folder: Path) -> None:
    """Skip the test where packages cannot be installed."""
    if shutil.which("uv") is None:
        pytest.skip("no uv")
    if shutil.disk_usage(folder).free < SPACE:
        pytest.skip(f"less than {SPACE / 1e9:.0f} GB are free in {folder}")
    asked = subprocess.run(
        ["uv", "pip", "compile", "--quiet", "--no-cache", "--no-deps", "-"],
        input=f"mlflow=={version('mlflow')}\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        pytest.skip(f"no package index is reachable: {asked.stderr.splitlines()[0]}")


@contextmanager
def server(environments: Path) -> Iterator[str]:
    """The address of MLflow's server of the model, in an environment that is made in this folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    serve = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", URI]
    command = [*serve, "--env-manager", "uv", "--port", str(port)]
    own = {"MLFLOW_ENV_ROOT": str(environments), "PYTHONPATH": ""}
    with open(environments.with_suffix(".log"), "wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | own, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(address, process, environments.with_suffix(".log"))
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/ping", timeout=10).close()
        except URLError:
            time.sleep(1)
        else:
            return
    raise AssertionError(log.read_text()[-2000:])


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def ask(address: str, columns: list[str], row: list[str]) -> dict[str, Any]:
    """The server's answer to one row."""
    body = json.dumps({"dataframe_split": {"columns": columns, "data": [row]}}).encode()
    request = urllib.request.Request(
        f"{address}/invocations", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        (prediction,) = json.load(answer)["predictions"]
    return prediction
