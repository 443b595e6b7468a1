"""Stored tokens belong to the stored views, which belong to the pictures of the shards."""

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
from pipeline.data.loading.row_reader import ImageReader
from pipeline.data.shards import parquet
from pipeline.data.transforms import images, views
from pipeline.data.transforms.views import ViewParams
from pipeline.errors import UserError
from pipeline.tokenizers import visual_tokens
from pipeline.tokenizers.visual_tokens import VisualTokensParams
from pipeline.utils import files
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
        parameter.data *= 4  # larger than trained ones: pictures get many different ids
    tokenizer.quantize.embedding.weight.copy_(F.normalize(torch.randn(40, 6), dim=-1))
    checkpoint.save(tokenizer, folder / "tokenizer")
    visual_tokens.tokenize(folder / "shards", folder / "tokenizer", folder / "tokens", PARAMS)
    return folder


def rows(folder: Path, split: str) -> ImageReader:
    groups = [(group, folder / "tokens") for group in parquet.row_groups(folder / "shards", split)]
    return ImageReader(groups, cache=4, pairs=False)


@pytest.mark.parametrize(("split", "count"), [("train", 20), ("val", 5)])
def test_tokenising_what_the_loader_shows_gives_the_stored_ids(folder, split, count):
    tokenizer = checkpoint.load(folder / "tokenizer")
    loader = rows(folder, split)
    pixels, stored = [], []
    for group, units in enumerate(loader.group_sizes):
        for unit in range(units):
            picture, _ = loader.get(group, unit)
            image = images.decode(picture.image)
            for view, ids in zip(picture.views, picture.tokens, strict=True):
                pixels.append(torch.from_numpy(views.apply(image, view, CONFIG.image_size).copy()))
                stored.append(torch.from_numpy(ids.astype("int64")))
    again = torch.cat(
        [tokenizer.token_ids(images.normalize(part)) for part in torch.stack(pixels).split(7)]
    )
    assert len(again) == 3 * count and torch.equal(again, torch.stack(stored))
    assert len(again.unique()) > 10


def test_views_are_drawn_for_the_picture_and_the_stream(folder):
    picture, _ = rows(folder, "train").get(0, 0)
    image = images.decode(picture.image)
    grey = images.mean_luma(image)
    assert tuple(picture.views) == tuple(
        views.draw(3, picture.key, index, *image.size, grey, PARAMS.view) for index in range(3)
    )


def test_reading_pictures_and_tokens_does_not_import_pandas(folder):
    """It takes a second, in each of the pipeline's many processes."""
    code = (
        "import sys; from pathlib import Path; from tests.pipeline.tokenizers.test_visual_tokens import rows; "
        f"picture, _ = rows(Path({str(folder)!r}), 'train').get(1, 2); "
        "print(picture.key, picture.tokens.shape, picture.views[1].flip in (True, False), 'pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "train-8 (3, 16) True False\n"


def test_files_and_row_groups_are_those_of_the_shards(folder):
    for path in sorted((folder / "shards").glob("*.parquet")):
        pictures, tokens = pq.ParquetFile(path), pq.ParquetFile(folder / "tokens" / path.name)
        assert pictures.num_row_groups == tokens.num_row_groups
        for group in range(pictures.num_row_groups):
            assert pictures.read_row_group(group)["key"] == tokens.read_row_group(group)["key"]
    described, own = (
        files.read_json(folder / name / "index.json") for name in ("shards", "tokens")
    )
    for split in ("train", "val"):
        for a, b in zip(
            described["splits"][split]["files"], own["splits"][split]["files"], strict=True
        ):
            assert (a["name"], a["groups"]) == (b["name"], b["groups"])
            assert b["sha256"] == files.sha256(folder / "tokens" / b["name"])


def test_the_index_says_how_the_tokens_were_made(folder):
    index = files.read_json(folder / "tokens" / "index.json")
    assert {
        name: index[name]
        for name in ("codes", "patches", "image_size", "patch_size", "views", "interpolation")
    } == {
        "codes": 40,
        "patches": 16,
        "image_size": 16,
        "patch_size": 4,
        "views": 3,
        "interpolation": "bicubic",
    }
    assert index["tokenizer_sha256"] == files.sha256(folder / "tokenizer" / "model.safetensors")
    assert 0.25 < index["code_usage"] <= 1
    assert index["draw"] == {
        "seed": 3,
        "crop_min": 0.5,
        "crop_max": 1.0,
        "flip": 0.5,
        "jitter": 0.4,
    }


def test_two_runs_give_the_same_bytes(folder, tmp_path):
    metrics = visual_tokens.tokenize(
        folder / "shards", folder / "tokenizer", tmp_path / "again", PARAMS, workers=3
    )
    assert (
        metrics["pictures"] == 25 and metrics["views"] == 75 and 0.25 < metrics["code_usage"] <= 1
    )
    assert contents(folder / "tokens") == contents(tmp_path / "again")


def test_a_run_that_breaks_off_goes_on_and_ends_with_the_same_bytes(folder, tmp_path, monkeypatch):
    """It breaks off when each of its files is about to be moved into place; shards that are whole
    are left alone."""

    class Killed(Exception):
        pass

    arguments = folder / "shards", folder / "tokenizer", tmp_path / "again", PARAMS
    replace, tokenised, moves, breaks = os.replace, [], 0, 0

    def moved(source, target):
        nonlocal moves, breaks
        moves += 1
        if moves == breaks + 1:
            breaks, moves = breaks + 1, 0
            raise Killed
        replace(source, target)

    tables = visual_tokens.tables
    monkeypatch.setattr(
        visual_tokens,
        "tables",
        lambda shard, *rest: tokenised.append(shard) or tables(shard, *rest),
    )
    monkeypatch.setattr(os, "replace", moved)
    metrics = None
    while metrics is None:
        try:
            metrics = visual_tokens.tokenize(*arguments)
        except Killed:
            continue
    assert breaks >= 3 and metrics == visual_tokens.tokenize(
        *arguments
    )  # what is finished is not done again
    assert len(tokenised) <= 3 + breaks and len(set(tokenised)) == 3
    assert contents(folder / "tokens") == contents(tmp_path / "again")


def test_a_ray_cluster_gives_the_same_bytes(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "local")
    visual_tokens.tokenize(folder / "shards", folder / "tokenizer", tmp_path / "there", PARAMS)
    assert contents(folder / "tokens") == contents(tmp_path / "there")


def test_unknown_source_and_missing_tokenizer_are_named(folder, tmp_path):
    with pytest.raises(UserError, match="sbu is neither"):
        visual_tokens.tokenize(
            folder / "shards", folder / "tokenizer", tmp_path / "a", "sbu", PARAMS
        )
    with pytest.raises(UserError, match="run the stage visual_tokenizer"):
        visual_tokens.tokenize(folder / "shards", folder / "nothing", tmp_path / "b", PARAMS)
