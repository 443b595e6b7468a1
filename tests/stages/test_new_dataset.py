"""A data set is added with a reader, its facts beside it, and entries in params.yaml: nothing else
names it."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline.data.shards import parquet
from tests.helpers import tiny

READER = '''"""Toy: images with a caption each, `captions.tsv` and the images beside it."""

from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.data.records import Rejected, captioned

KIND = "image"
SHARED = True


@dataclass(frozen=True)
class _Entry:
    key: str
    split: str
    caption: str
    size: int


def files(root):
    if not (root / "captions.tsv").exists():
        raise FileNotFoundError(f"no captions.tsv in {root}")
    return [root / "captions.tsv", *sorted(root.glob("*.jpg"))]


def entries(root):
    for line in (root / "captions.tsv").read_text().splitlines():
        key, split, caption = line.split("\\t")
        path = root / f"{key}.jpg"
        if path.exists():
            yield _Entry(key, split, caption, path.stat().st_size)
        else:
            yield Rejected(key, "missing image")


@contextmanager
def open_reader(root):
    def read(entry):
        data = (root / f"{entry.key}.jpg").read_bytes()
        yield from captioned(entry.key, entry.split, data, [entry.caption], (f"toy {entry.key}",))

    yield read


def counts(root, sharded):
    images = sharded.rows("train", "val")
    return {"images": images, "captions": sum(map(len, sharded.column("captions")))}


def evaluation_images(root):
    for entry in entries(root):
        if isinstance(entry, _Entry) and entry.split == "val":
            yield f"toy {entry.key}"
'''
FACTS = """license: drawn by a test
counts:
  exact: {images: 4}
  about: {captions: 5}
pretraining: {images: 3, captions: 3}
plan: {unit: images, records: [images], records_per_second: 2, shard_bytes: 1000, tested: 1}
files:
  - name: captions.tsv
    sha256: %s
"""
STAGES = """
from pipeline.tracking import client
from stages import decontamination, download, plan, shard
if __name__ == "__main__":
    client.installed = lambda: False
    download.main("toy")
    decontamination.main()
    shard.main("toy")
    plan.main()
"""
CAPTIONS = "".join(
    f"{number}\t{split}\tA ring, number {number}.\n"
    for number, split in enumerate(("train", "train", "train", "val", "train"))
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the code with one data set more, its files, and params.yaml."""
    for package in ("model", "pipeline", "stages"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(tiny.ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(tiny.ROOT / "dvc.yaml", tmp_path)
    datasets = tmp_path / "pipeline/data/datasets"
    (datasets / "toy.py").write_text(READER)
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/captions.tsv").write_text(CAPTIONS)
    for number in range(4):
        Image.new("RGB", (9, 7), (60 * number, 90, 30)).save(buffer := io.BytesIO(), "JPEG")
        (tmp_path / f"toy/{number}.jpg").write_bytes(buffer.getvalue())
    tree = tiny.settings()
    for source in tree["download"].values():
        if "origin" in source:
            source["origin"] = "none"
    tree["download"]["toy"] = {"origin": "local", "path": "toy"}
    tree["shard"]["toy"] = {
        "val_fraction": 0.0,
        "max_side": 0,
        "decontaminate": True,
        "min_coverage": 0.9,
    }
    tiny.write(tmp_path, tree)
    return tmp_path


def test_a_toy_data_set_is_downloaded_decontaminated_sharded_counted_and_planned(project):
    digest = subprocess.check_output(["sha256sum", "toy/captions.tsv"], cwd=project, text=True)[:64]
    (project / "pipeline/data/datasets/toy.yaml").write_text(FACTS % digest)
    printed = run(project)
    assert "toy: 3 of the paper's 3 images (100.0%)" in printed.stdout
    assert read_rows(project, "train") == {"0": 0, "1": 1, "2": 2}
    assert read_rows(project, "val") == {"3": 3}
    shards = project / "data/small/shards/toy"
    assert json.loads((shards / "index.json").read_text())["rejected"] == {"missing image": 1}
    verdicts = {
        check["name"]: (check["found"], check["verdict"])
        for check in json.loads((shards / "counts.json").read_text())
    }
    assert verdicts == {"images": (4, "right"), "captions": (4, "reported")}
    names = json.loads((project / "data/small/decontamination.json").read_text())
    assert names == ["toy 3"]
    (planned,) = [line for line in printed.stdout.splitlines() if line.startswith("| toy ")]
    assert "4 images" in planned and "2 s" in planned


def test_other_files_than_the_facts_name_are_refused(project):
    (project / "pipeline/data/datasets/toy.yaml").write_text(FACTS % ("f" * 64))
    printed = run(project, succeeds=False)
    assert "download.toy.path: " in printed.stderr and "captions.tsv: sha256 " in printed.stderr


def run(project: Path, succeeds: bool = True) -> subprocess.CompletedProcess:
    """The stages, in a process that knows the copy alone."""
    (project / "run.py").write_text(STAGES)
    variables = os.environ | {"PYTHONPATH": str(project)}
    variables.pop("DVC_ROOT", None)
    result = subprocess.run(
        [sys.executable, "run.py"],
        cwd=project,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode == 0) == succeeds, result.stderr
    return result


def read_rows(project: Path, split: str) -> dict[str, int]:
    """Key, and number in the caption, of the rows of a split."""
    rows = {}
    for row in parquet.read_rows(project / "data/small/shards/toy", split):
        (caption,) = row["captions"]
        rows[row["key"]] = int(caption.rstrip(".").split()[-1])
    return rows
