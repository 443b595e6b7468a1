"""The data stages one after the other, as `dvc repro` runs them, on files of the user's own."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from pipeline.data.shards import parquet
from pipeline.errors import UserError
from pipeline.tracking import client as tracking
from stages import download, shard, text_tokenizer, text_tokens

PARAMS = """scale: small
preset: small
pool: {workers: 1}
download:
  common: {mirrors: [], official: false}
  bookcorpus: {origin: local, path: books}
  flickr30k: {origin: local, path: flickr}
shard:
  common: {rows_per_group: 4, groups_per_file: 4}
  bookcorpus: {val_fraction: 0.3}
  flickr30k: {val_fraction: 0, max_side: 0}
text_tokenizer:
  origin: train
  file:
  sources: [bookcorpus, flickr30k]
  vocab_size: 38
  character_coverage: 1
  max_sentences: 1000
  seed: 0
text_tokens: {max_length: 16, min_words: 4, rows_per_group: 4, groups_per_file: 4}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A function that makes a project folder and goes there."""
    monkeypatch.setattr(tracking, "installed", lambda: False)
    monkeypatch.delenv("DVC_ROOT", raising=False)

    def make(name: str, text: str = PARAMS) -> Path:
        root = tmp_path / name
        (root / "books").mkdir(parents=True)
        (root / "flickr" / "flickr30k-images").mkdir(parents=True)
        (root / "params.yaml").write_text(text)
        lines = [
            f"the {color} ship left harbour {number % 7} at dawn ."
            for number in range(300)
            for color in ("red", "green", "pale blue")
        ]
        for part in (1, 2):
            (root / "books" / f"books_large_p{part}.txt").write_text("\n".join(lines[part::2]))
        entries = []
        for number in range(12):
            Image.new("RGB", (9, 7), (20 * number, 90, 30)).save(buffer := io.BytesIO(), "JPEG")
            (root / "flickr" / "flickr30k-images" / f"{number}.jpg").write_bytes(buffer.getvalue())
            entries.append(
                {
                    "filename": f"{number}.jpg",
                    "split": ("train", "train", "val", "test")[number % 4],
                    "sentences": [{"raw": f"An image of harbour {number}."}],
                }
            )
        (root / "flickr" / "dataset_flickr30k.json").write_text(json.dumps({"images": entries}))
        monkeypatch.chdir(root)
        return root

    return make


def run_all() -> None:
    for source in ("bookcorpus", "flickr30k"):
        download.main(source)
        shard.main(source)
    text_tokenizer.main()
    text_tokens.main("bookcorpus")


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_stages_give_the_same_bytes_in_another_folder(project):
    outputs = []
    for name in ("one", "somewhere else"):
        root = project(name)
        run_all()
        outputs.append(contents(root / "data"))
    assert outputs[0] == outputs[1]
    assert {
        "small/raw/flickr30k/manifest.json",
        "small/shards/flickr30k/test-00000.parquet",
        "small/text_tokenizer/spm.model",
        "small/text_tokens/bookcorpus/index.json",
    } <= outputs[0].keys()
    assert not any(str(root).encode() in data for data in outputs[0].values())
    assert sum(1 for _ in parquet.read_rows(root / "data/small/shards/flickr30k", "train")) == 6


def test_a_vanished_file_of_a_local_source_is_named(project):
    root = project("one")
    (root / "flickr" / "dataset_flickr30k.json").unlink()
    with pytest.raises(
        UserError,
        match=r"^params.yaml: download.flickr30k.path: no caption_datasets.zip or .*$",
    ):
        download.main("flickr30k")


@pytest.mark.parametrize(
    "change, message",
    [
        (("val_fraction: 0.3", "val_fraction: many"), "shard.bookcorpus.val_fraction"),
        (
            ("val_fraction: 0.3", "val_fraction: 0.3, speed: 1"),
            "shard.bookcorpus: unknown key speed",
        ),
        (("origin: local, path: books", "origin: local"), "download.bookcorpus.path"),
    ],
)
def test_bad_params_are_named(project, change, message):
    project("one", PARAMS.replace(*change))
    with pytest.raises(UserError, match=message):
        download.main("bookcorpus")
        shard.main("bookcorpus")
