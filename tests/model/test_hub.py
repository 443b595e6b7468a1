"""Models go to a stand-in of the Hugging Face hub and come from there; without one, a line says so."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model import checkpoint, hub
from model.heads.classification import Classification, ClassificationConfig
from tests.helpers import hub_server
from tests.helpers.tiny import ROOT
from tests.helpers.toy import BACKBONE

# Where the hub is, is read once in a process.
PUSHED_AND_LOADED = """
from model.backbone.vl_beit import VLBeit
from pipeline.inference import predictor
from pipeline.utils import model_folder
url = model_folder.push_to_hub("folder", "somebody/toy", private=True)
backbone = type(VLBeit.from_pretrained("somebody/toy")).__name__
classes = predictor.load("somebody/toy").classes
print(json.dumps([url, backbone, classes]))
"""
REFUSED = """
from pipeline.errors import UserError
from pipeline.inference import predictor
from pipeline.utils import model_folder
messages = []
for call in (
    lambda: predictor.load("somebody/toy"),
    lambda: model_folder.push_to_hub("folder", "somebody/toy"),
    lambda: model_folder.push_to_hub("nowhere", "somebody/toy"),
):
    try:
        call()
    except UserError as error:
        messages.append(str(error))
print(json.dumps(messages))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with names of classes, a card, and a file that is nobody's business."""
    folder = tmp_path / "folder"
    checkpoint.save(Classification(ClassificationConfig(BACKBONE, 2)).eval(), folder)
    (folder / "classes.json").write_text('["cat", "dog"]')
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "notes.pdf").write_text("private")
    return folder


def run(code: str, folder: Path, endpoint: str) -> Any:
    """What some code prints, with a cache of its own."""
    home = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder.parent / "home"), "HF_TOKEN": "hf_x"}
    done = subprocess.run(
        [sys.executable, "-c", f"import json\n{code}"],
        cwd=folder.parent,
        env={**os.environ, **home, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_a_model_goes_to_the_hub_and_comes_from_there(folder: Path) -> None:
    with hub_server.hub() as server:
        url, backbone, classes = run(PUSHED_AND_LOADED, folder, server.address)
        uploaded = server.models["somebody/toy"]
    assert url == f"{server.address}/somebody/toy"
    assert (backbone, classes) == ("VLBeit", ["cat", "dog"])
    assert set(uploaded) == {"README.md", "classes.json", "config.json", "model.safetensors"}
    assert uploaded["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_without_a_hub_a_line_says_so(folder: Path) -> None:
    fetched, uploaded, empty = run(REFUSED, folder, "http://127.0.0.1:9")
    assert fetched.startswith("somebody/toy: no folder here, and not fetched from the hub (")
    assert uploaded.startswith("somebody/toy: not uploaded to the hub (ConnectError:")
    assert empty == "nowhere/config.json: not found; name the folder of a model"
    assert "\n" not in fetched + uploaded


def test_folders_and_paths_are_none_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/model").mkdir(parents=True)
    for name in ("runs/model", Path("runs/other"), "./runs", "../runs", "/a", "a/b/c", "a"):
        assert hub.local(name) == Path(name)
