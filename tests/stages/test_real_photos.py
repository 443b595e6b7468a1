"""The same code on real photographs: Flickr8k images in Flickr30k's layout, where a copy of them
is at hand."""

import json
from pathlib import Path

from pipeline.data.shards import parquet
from pipeline.tracking import client as tracking
from tests.helpers import real_data, tiny

REAL = real_data.folder("flickr30k")


@real_data.needs("flickr30k")
def test_shard_tokens_fine_tune_and_evaluate_run_through_on_real_images(tmp_path, monkeypatch):
    tree = tiny.settings()
    tree["download"]["flickr30k"] = {
        "origin": "local",
        "path": str(REAL),
        "mirrors": [],
        "official": False,
    }
    tree["visual_tokenizer"]["sources"] = {"flickr30k": 1}
    tree["visual_tokens"]["pairs"]["sources"] = ["flickr30k"]
    tree["text_tokenizer"] |= {"sources": ["flickr30k"], "vocab_size": 400}
    common = tree["pretrain"]["common"]
    common["data"]["images"]["sources"] = common["data"]["pairs"]["sources"] = {"flickr30k": 1}
    common["data"]["texts"]["sources"] = {}
    common["validation"] |= {"texts": [], "images": ["flickr30k"], "pairs": ["flickr30k"]}
    tree["pretrain"]["variants"]["main"]["objectives"] = ["mim", "mvlm"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracking, "installed", lambda: False)
    tiny.write(tmp_path, tree)
    for stage in (
        ("download", "flickr30k"),
        ("shard", "flickr30k"),
        ("text_tokenizer",),
        ("visual_tokenizer",),
        ("visual_tokens", "flickr30k"),
        ("pretrain", "main"),
        ("finetune", "flickr30k"),
        ("evaluate", "flickr30k"),
    ):
        tiny.run(*stage)

    splits = json.loads(Path("data/small/shards/flickr30k/index.json").read_text())["splits"]
    assert {split: (facts["rows"], facts["samples"]) for split, facts in splits.items()} == {
        "train": (80, 400),
        "val": (20, 100),
        "test": (20, 100),
    }
    assert not list(Path("data/small/raw/flickr30k").glob("*.jpg")), (
        "the user's files are not copied"
    )
    rows = list(parquet.read_rows(Path("data/small/visual_tokens/flickr30k"), "train"))
    assert len(rows) == 80
    result = json.loads(Path("results/small/evaluate/flickr30k.json").read_text())
    assert (result["images"], result["captions"]) == (20, 100)
    assert all(0 <= value <= 1 for value in result["reranked"].values())
