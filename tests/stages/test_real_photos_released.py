"""VLMo's evaluation on Flickr30k at its full size, with made-up weights, on real photographs:
Flickr8k images in Flickr30k's layout, where a copy of them is at hand."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.helpers import real_data, tiny

REAL = real_data.folder("flickr30k")


@pytest.mark.slow
@real_data.needs("flickr30k")
def test_vlmo_at_base_size_ranks_real_images_at_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = YAML(typ="safe", pure=True).load(tiny.ROOT / "params" / "paper.yaml")
    tree["download"]["common"] |= {"official": False}
    tree["download"]["flickr30k-test"] = {"origin": "local", "path": str(REAL)}
    tree["imported_weights"] |= {"origin": "synthetic"}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    tiny.write(tmp_path, tree)
    for stage in (
        ("download", "flickr30k-test"),
        ("shard", "flickr30k-test"),
        ("imports", "vlmo-flickr30k"),
        ("evaluate", "vlmo-flickr30k"),
    ):
        tiny.run(*stage)

    splits = json.loads(Path("data/paper/shards/flickr30k-test/index.json").read_text())["splits"]
    assert {split: facts["rows"] for split, facts in splits.items()} == {"test": 20}
    result = json.loads(Path("results/paper/evaluate/vlmo-flickr30k.json").read_text())
    assert (result["images"], result["captions"]) == (20, 100)
    assert result["inputs"] == {"image_size": 384, "text_length": 40}
    assert "reranked" not in result
    for metric, value in result["dual"].items():  # four standard errors
        chance = result["chance"][metric]
        assert abs(value - chance) <= 4 * (chance * (1 - chance) / 20) ** 0.5 + 1e-9, metric
