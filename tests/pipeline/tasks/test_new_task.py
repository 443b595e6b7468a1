"""A task is added with a folder, a network, a line of fine_tunes.yaml and values in params.yaml, as
docs/extending.md says: nothing else names it."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from model import checkpoint
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from pipeline.data.shards import parquet, schema
from pipeline.errors import UserError
from pipeline.tasks import Folders, runner
from pipeline.tasks.fine_tunes import FineTune
from pipeline.tokenizers.text import put_into
from tests.helpers import tiny
from tests.helpers.doc_examples import write_tokenizer
from tests.helpers.toy import BACKBONE

STAGES = """
from pathlib import Path

from PIL import Image

from pipeline.inference import mlflow_pyfunc, predictor
from pipeline.inference.row_predictor import RowPredictor
from pipeline.tracking import client
from stages import evaluate, finetune, plan

if __name__ == "__main__":
    client.installed = lambda: False
    finetune.main("brightness")
    evaluate.main("brightness")
    plan.main()
    model = predictor.load("runs/small/finetune/brightness/model")
    print("predicted", model.predict_row([Image.open("image.png")], None))
    print("row", RowPredictor(Path("runs/small/finetune/brightness/model")).predict(
        {"image": Path("image.png").read_bytes()}))
    print("columns", mlflow_pyfunc.signature().outputs.input_names())
"""


def yaml_blocks() -> list[str]:
    """The entries that docs/extending.md shows for a task: fine_tunes.yaml's and params.yaml's."""
    page = (tiny.ROOT / "docs/extending.md").read_text(encoding="utf-8")
    section = page.partition("## A task")[2].partition("\n## ")[0]
    blocks = re.findall(r"^ *```yaml\n(.*?)^ *```$", section, re.DOTALL | re.MULTILINE)
    return [dedent(block) for block in blocks]


def image(number: int) -> bytes:
    """A gray PNG."""
    Image.new("RGB", (20, 20), (10 * number,) * 3).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def write_data(folder: Path) -> int:
    """Shards and a text tokenizer. Returns the number of its ids."""
    splits = {}
    for split, numbers in (("train", range(20)), ("val", range(20, 25))):
        rows = []
        for number in numbers:
            row = {"key": f"{number}", "image": image(number), "width": 20, "height": 20}
            rows.append({**row, "captions": [], "label": 0})
        splits[split] = parquet.write(
            folder / "shards/imagenet1k",
            split,
            rows,
            schema.IMAGE_SHARD,
            rows_per_group=4,
            groups_per_file=9,
        )
    parquet.write_index(folder / "shards/imagenet1k", splits, rejected={"train": 0})
    return write_tokenizer(folder / "text_tokenizer")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the code with one task more, a pretrained model and data."""
    for package in ("model", "pipeline", "stages"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(tiny.ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(tiny.ROOT / "dvc.yaml", tmp_path)
    folder = tmp_path / "pipeline/tasks/brightness"
    ignored = shutil.ignore_patterns("__pycache__", "network.py")
    shutil.copytree(tiny.ROOT / "tests/helpers/brightness", folder, ignore=ignored)
    network = tiny.ROOT / "tests/helpers/brightness/network.py"
    shutil.copy(network, tmp_path / "model/heads/brightness.py")
    lines, values = yaml_blocks()
    tree = tiny.settings()
    tree["finetune"] |= YAML(typ="safe", pure=True).load(values)
    tree["finetune"]["brightness"] |= {"steps": 4, "warmup_steps": 1}
    tree["finetune"]["brightness"]["inputs"] = {"image_size": 16, "order": tiny.ORDER}
    tree["finetune"]["brightness"]["loop"] |= tiny.LOOP
    tiny.write(tmp_path, tree)
    yaml = YAML(typ="safe", pure=True)
    lists = yaml.load(tmp_path / "fine_tunes.yaml")
    for key, added in yaml.load(lines).items():
        lists[key] |= added
    yaml.dump(lists, tmp_path / "fine_tunes.yaml")
    vocab_size = write_data(tmp_path / "data/small")
    config = MaskedModelingConfig(replace(BACKBONE, vocab_size=vocab_size), codebook_size=8)
    pretrained = tmp_path / "runs/small/pretrain/main/model"
    checkpoint.save(MaskedModeling(config), pretrained)
    put_into(pretrained, tmp_path / "data/small/text_tokenizer/spm.model")
    (tmp_path / "image.png").write_bytes(image(12))
    return tmp_path


def test_a_task_is_fine_tuned_evaluated_planned_and_used(project: Path) -> None:
    (project / "run.py").write_text(STAGES)
    variables = os.environ | {"PYTHONPATH": str(project)}
    variables.pop("DVC_ROOT", None)
    done = subprocess.run(
        [sys.executable, "run.py"],
        cwd=project,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    result = json.loads((project / "results/small/evaluate/brightness.json").read_text())
    assert result["images"] == 5 and np.isfinite(result["error"])
    assert result["headline"]["score"] == -result["error"]
    assert (project / "results/small/predictions/brightness/errors.png").exists()
    assert any(line.startswith("| finetune brightness ") for line in printed)
    assert any(line.startswith("| evaluate brightness ") for line in printed)
    (predicted,) = [line for line in printed if line.startswith("predicted ")]
    (row,) = [line for line in printed if line.startswith("row ")]
    assert predicted.removeprefix("predicted ") == row.removeprefix("row ")
    assert "'brightness'" in next(line for line in printed if line.startswith("columns "))


def test_data_that_a_task_cannot_read_are_refused(tmp_path: Path) -> None:
    write_data(tmp_path)
    folders = Folders(tmp_path / "shards/imagenet1k", tmp_path / "text_tokenizer/spm.model")
    fine_tune = FineTune(
        "VQA", "vqa", "imagenet1k", "vqa", "vqa", "main", "pretrain/main", "table1"
    )
    params = SimpleNamespace(seed=1)
    job = runner.FineTuneJob("wrong", fine_tune, tmp_path, tmp_path, folders, params)
    with pytest.raises(
        UserError, match="^fine_tunes.yaml: wrong: task vqa reads answers, questions"
    ):
        runner.check(job)
