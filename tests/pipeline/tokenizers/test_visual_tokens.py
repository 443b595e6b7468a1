"""Stored tokens belong to the stored views, which belong to the images of the shards."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from model import checkpoint
from model.tokenizer.vqkd import VisualTokenizer, VQKDConfig
from pipeline.config import params
from pipeline.data.loading.row_reader import ImageReader
from pipeline.data.shards import parquet
from pipeline.data.transforms import images, views
from pipeline.data.transforms.views import ViewParams
from pipeline.errors import UserError
from pipeline.tokenizers import visual_tokens
from pipeline.tokenizers.visual_tokens import VisualTokensParams
from pipeline.utils import files, progress
from tests.helpers import toy_images
from tests.helpers.tiny import ROOT
from tests.pipeline.data.sharding.test_build import contents

CONFIG = VQKDConfig(
    image_size=16,
    patch_size=4,
    depth=2,
    decoder_depth=1,
    embed_dim=16,
    num_heads=2,
    codebook_size=40,
    codebook_dim=6,
    teacher_dim=7,
    ema_decay=0.9,
    codebook_start_step=0,
)
PARAMS = VisualTokensParams(
    seed=3,
    sources=["coco", "vg"],
    views=3,
    view=ViewParams([0.5, 1.0], 0.5, 0.4),
    batch=8,
    threads=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Shards, a random tokenizer and the tokens of `coco`."""
    folder = tmp_path_factory.mktemp("tokens")
    toy_images.write(folder / "shards", {"train": 20, "val": 5})
    torch.manual_seed(0)
    tokenizer = VisualTokenizer(CONFIG)
    for parameter in tokenizer.encoder.parameters():
        parameter.data *= 4  # larger than trained ones: images get many different ids
    tokenizer.quantize.embedding.weight.copy_(F.normalize(torch.randn(40, 6), dim=-1))
    checkpoint.save(tokenizer, folder / "tokenizer")
    visual_tokens.tokenize(folder / "shards", folder / "tokenizer", folder / "tokens", PARAMS)
    return folder


def rows(folder: Path, split: str) -> ImageReader:
    images = parquet.row_groups(folder / "shards", split)
    tokens = parquet.row_groups(folder / "tokens", split)
    return ImageReader(list(zip(images, tokens, strict=True)), cache=4, pairs=False)


@pytest.mark.parametrize(("split", "count"), [("train", 20), ("val", 5)])
def test_tokenizing_what_the_loader_shows_gives_the_stored_ids(folder, split, count):
    tokenizer = checkpoint.load(folder / "tokenizer")
    loader = rows(folder, split)
    pixels, stored = [], []
    for group, size in enumerate(loader.group_sizes):
        for offset in range(size):
            row, _ = loader.get(group, offset)
            image = images.decode(row.image)
            for view, ids in zip(row.views, row.tokens, strict=True):
                pixels.append(torch.from_numpy(views.apply(image, view, CONFIG.image_size).copy()))
                stored.append(torch.from_numpy(ids.astype("int64")))
    again = torch.cat(
        [tokenizer.token_ids(images.normalize(part)) for part in torch.stack(pixels).split(7)]
    )
    assert len(again) == 3 * count and torch.equal(again, torch.stack(stored))
    assert len(again.unique()) > 10


def test_views_are_drawn_for_the_image_and_the_stream(folder):
    row, _ = rows(folder, "train").get(0, 0)
    image = images.decode(row.image)
    luma = images.mean_luma(image)
    assert tuple(row.views) == tuple(
        views.draw(3, row.key, index, *image.size, luma, PARAMS.view) for index in range(3)
    )


def test_reading_images_and_tokens_does_not_import_pandas(folder):
    """It takes a second, in each of the pipeline's many processes."""
    code = (
        "import sys; from pathlib import Path; "
        "from tests.pipeline.tokenizers.test_visual_tokens import rows; "
        f"row, _ = rows(Path({str(folder)!r}), 'train').get(1, 2); "
        "print(row.key, row.tokens.shape, row.views[1].flip in (True, False), "
        "'pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "train-8 (3, 16) True False\n"


def test_files_and_row_groups_are_those_of_the_shards(folder):
    for path in sorted((folder / "shards").glob("*.parquet")):
        shard, tokens = pq.ParquetFile(path), pq.ParquetFile(folder / "tokens" / path.name)
        assert shard.num_row_groups == tokens.num_row_groups
        for group in range(shard.num_row_groups):
            assert shard.read_row_group(group)["key"] == tokens.read_row_group(group)["key"]
    of_shards = files.read_json(folder / "shards" / "index.json")["splits"]
    of_tokens = files.read_json(folder / "tokens" / "index.json")["splits"]
    for split in ("train", "val"):
        pairs = zip(of_shards[split]["files"], of_tokens[split]["files"], strict=True)
        for shard_file, token_file in pairs:
            assert shard_file["name"] == token_file["name"]
            assert shard_file["groups"] == token_file["groups"]
            assert token_file["sha256"] == files.sha256(folder / "tokens" / token_file["name"])


def test_the_index_says_how_the_tokens_were_made(folder):
    index = files.read_json(folder / "tokens" / "index.json")
    assert {
        name: index[name]
        for name in (
            "codebook_size",
            "patches",
            "image_size",
            "patch_size",
            "views",
            "interpolation",
        )
    } == {
        "codebook_size": 40,
        "patches": 16,
        "image_size": 16,
        "patch_size": 4,
        "views": 3,
        "interpolation": "bicubic",
    }
    assert index["tokenizer_sha256"] == files.sha256(folder / "tokenizer" / "model.safetensors")
    assert 0.25 < index["codebook_usage"] <= 1
    assert index["draw"] == {
        "seed": 3,
        "crop_scale": [0.5, 1.0],
        "flip": 0.5,
        "color_jitter": 0.4,
    }


def test_two_runs_give_the_same_bytes(folder, tmp_path):
    metrics = visual_tokens.tokenize(
        folder / "shards", folder / "tokenizer", tmp_path / "again", PARAMS, workers=3
    )
    assert (
        metrics["images"] == 25 and metrics["views"] == 75 and 0.25 < metrics["codebook_usage"] <= 1
    )
    assert contents(folder / "tokens") == contents(tmp_path / "again")


def test_a_run_that_breaks_off_goes_on_and_ends_with_the_same_bytes(folder, tmp_path, monkeypatch):
    """It breaks off when each of its files is about to be moved into place; shards that are whole
    are left alone."""

    class Killed(Exception):
        pass

    arguments = folder / "shards", folder / "tokenizer", tmp_path / "again", PARAMS
    replace, tokenized, moves, breaks = os.replace, [], 0, 0

    def moved(source, target):
        nonlocal moves, breaks
        moves += 1
        if moves == breaks + 1:
            breaks, moves = breaks + 1, 0
            raise Killed
        replace(source, target)

    groups = visual_tokens.tokenized_groups
    monkeypatch.setattr(
        visual_tokens,
        "tokenized_groups",
        lambda shard, *rest: tokenized.append(shard[0].file) or groups(shard, *rest),
    )
    monkeypatch.setattr(os, "replace", moved)
    metrics = None
    while metrics is None:
        try:
            metrics = visual_tokens.tokenize(*arguments)
        except Killed:
            continue
    assert breaks >= 3
    assert metrics == visual_tokens.tokenize(*arguments)  # what is finished is not done again
    assert len(tokenized) <= 3 + breaks and len(set(tokenized)) == 3
    assert contents(folder / "tokens") == contents(tmp_path / "again")


def test_progress_counts_images(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "LOG_EVERY", 0.0)
    visual_tokens.tokenize(folder / "shards", folder / "tokenizer", tmp_path / "again", PARAMS)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("shards: 25 of 25 images, ")


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_bytes(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "local")
    visual_tokens.tokenize(folder / "shards", folder / "tokenizer", tmp_path / "there", PARAMS)
    assert contents(folder / "tokens") == contents(tmp_path / "there")


def test_unknown_source_and_missing_tokenizer_are_named(folder, tmp_path):
    with pytest.raises(UserError, match="ade20k is neither"):
        visual_tokens.load_params(params.preset("small"), "ade20k")
    with pytest.raises(UserError, match="run the stage visual_tokenizer"):
        visual_tokens.tokenize(folder / "shards", folder / "nothing", tmp_path / "a", PARAMS)
