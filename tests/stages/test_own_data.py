"""docs/data.md for people who have only some of the data: what it says works."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline.data.shards import parquet
from pipeline.errors import UserError
from pipeline.tracking import client as tracking
from tests.helpers import tiny


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A function that writes params.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(tracking, "installed", lambda: False)
    return lambda tree: tiny.write(tmp_path, tree)


def without(tree: dict, *sources: str) -> None:
    """As the docs say."""
    common = tree["pretrain"]["common"]
    for source in sources:
        tree["download"][source]["origin"] = "none"
        tree["visual_tokenizer"]["sources"].pop(source, None)
        tree["text_tokenizer"]["sources"] = [
            name for name in tree["text_tokenizer"]["sources"] if name != source
        ]
        for stream in common["data"].values():
            stream["sources"].pop(source, None)
        for kind in ("texts", "images", "pairs"):
            common["validation"][kind] = [
                name for name in common["validation"][kind] if name != source
            ]


def test_sources_can_be_left_out(project):
    tree = tiny.settings()
    gone = ("cc3m", "sbu", "vg", "flickr30k", "imagenet1k", "nlvr2", "ade20k", "vqav2")
    without(tree, *gone)
    project(tree)
    for stage in tiny.stages():
        if stage[0] in (
            "released_weights",
            "download",
            "decontamination",
            "shard",
            "text_tokenizer",
            "text_tokens",
            "visual_tokenizer",
            "visual_tokens",
        ) or stage == ("pretrain", "mvlm"):
            tiny.run(*stage)
    assert Path("runs/small/pretrain/mvlm/model/model.safetensors").exists()
    assert all(
        json.loads(Path(f"data/small/shards/{source}/index.json").read_text())["splits"] == {}
        for source in gone
    )
    with pytest.raises(
        UserError,
        match=r"^fine_tunes.yaml: nlvr2-mvlm: data/small/shards/nlvr2/index.json: no split 'train' "
        r"\(has: nothing, as its origin is none\); leave nlvr2 out$",
    ):
        tiny.run("finetune", "nlvr2-mvlm")
    tiny.run("table")
    assert "| VL-BEiT (ours)" in Path("results/small/tables/table1.md").read_text()


def test_captioned_images_of_ones_own_replace_coco(project, tmp_path):
    own = tmp_path / "own"
    for folder in ("train2014", "val2014"):
        (own / folder).mkdir(parents=True)
    for number in range(6):
        Image.new("RGB", (40, 30), (40 * number, 90, 30)).save(
            own / f"train2014/holiday {number}.jpg"
        )
    (own / "captions.json").write_text(
        json.dumps(
            {
                "images": [
                    {"id": number, "file_name": f"holiday {number}.jpg"} for number in range(6)
                ],
                "annotations": [
                    {"id": number, "image_id": number % 6, "caption": f"A beach, take {number}."}
                    for number in range(12)
                ],
            }
        )
    )
    documented = (tiny.ROOT / "docs/data.md").read_text(encoding="utf-8")
    script = re.search(r"```python\n(.*?)```", documented, re.DOTALL)[1]
    subprocess.run([sys.executable, "-c", script], cwd=own, check=True)
    tree = tiny.settings()
    tree["download"]["coco"] = {
        "origin": "local",
        "path": "own",
        "mirrors": [],
        "official": False,
    }
    tree["download"]["flickr30k"]["origin"] = "none"
    project(tree)
    for stage in (
        ("download", "coco"),
        ("download", "flickr30k"),
        ("decontamination",),
        ("shard", "coco"),
    ):
        tiny.run(*stage)
    rows = list(parquet.read_rows(Path("data/small/shards/coco"), "train"))
    assert sorted(row["key"] for row in rows) == [
        f"train2014/holiday {number}.jpg" for number in range(6)
    ]
    assert all(len(row["captions"]) == 2 for row in rows)
