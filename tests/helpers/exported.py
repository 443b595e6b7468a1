"""A project with random models, all exported."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from model import checkpoint
from model.heads.classification import Classification, ClassificationConfig
from model.heads.nlvr2 import NLVR2, NLVR2Config
from model.heads.retrieval import Retrieval, RetrievalConfig
from model.heads.segmentation import Segmentation, SegmentationConfig
from model.heads.vqa import VQA, VQAConfig
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from pipeline.data.shards import parquet, schema
from pipeline.tokenizers import text
from pipeline.utils import files
from stages import export
from tests.helpers import tiny
from tests.helpers.doc_examples import write_tokenizer
from tests.helpers.toy import BACKBONE, HEAD

ANSWERS = ("ring", "star", "yes", "no")
SCENES = tiny.settings()["evaluate"]["ade20k"]["names"].replace("\n", "").split(", ")
# depth and image size of the base model
BASE = replace(BACKBONE, image_size=224, patch_size=16, depth=12, drop_path=0.0)


def model_of(item: str, vocab_size: int) -> Any:
    """Random weights."""
    backbone = replace(BACKBONE, vocab_size=vocab_size)
    torch.manual_seed(len(item))
    if item in ("coco", "flickr30k", "flickr30k-coco"):
        return Retrieval(RetrievalConfig(backbone))
    if item.startswith("imagenet"):
        return Classification(ClassificationConfig(backbone, 6 if item == "imagenet1k" else 12))
    return {
        "main": lambda: MaskedModeling(MaskedModelingConfig(backbone, codebook_size=8)),
        "vqa": lambda: VQA(VQAConfig(backbone, ANSWERS)),
        "nlvr2": lambda: NLVR2(NLVR2Config(backbone)),
        "ade20k": lambda: Segmentation(
            SegmentationConfig(backbone, replace(HEAD, classes=len(SCENES)))
        ),
    }[item]()


def write_data(data: Path) -> int:
    """Shards as far as exports read them, and a text tokenizer; returns the number of its ids."""
    for source in tiny.SOURCES:
        splits = {"train": {"rows": 1234, "samples": 5678}}
        files.write_json(
            data / "shards" / source / "index.json", {"splits": splits, "rejected": {"train": 3}}
        )
    for source, classes in (("imagenet1k", 6), ("imagenet22k", 12)):
        rows = [
            {
                "key": f"n{label:08d}_{number}",
                "image": b"",
                "width": 1,
                "height": 1,
                "captions": [],
                "label": label,
            }
            for label in range(1, classes)
            for number in range(2)
        ]
        folder = data / "shards" / source
        written = parquet.write(
            folder, "train", rows, schema.IMAGE_SHARD, rows_per_group=4, groups_per_file=9
        )
        parquet.write_index(folder, {"train": written}, rejected={"train": 0})
    return write_tokenizer(data / "text_tokenizer")


def write_project(root: Path) -> None:
    """A project after its pipeline, with random models, all exported, and two images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        tiny.write(root, tiny.settings())
        vocab_size = write_data(root / "data/small")
        tokenizer = root / "data/small/text_tokenizer/spm.model"
        checkpoint.save(model_of("main", vocab_size), root / "runs/small/pretrain/main/model")
        text.put_into(root / "runs/small/pretrain/main/model", tokenizer)
        files.write_json(root / "runs/small/pretrain/main/validation.json", {"mlm_accuracy": 0.125})
        for item in tiny.PRETRAINED:
            folder = root / "runs/small/finetune" / item / "model"
            checkpoint.save(model_of(item, vocab_size), folder)
            text.put_into(folder, tokenizer)
            files.write_json(
                root / f"results/small/evaluate/{item}.json",
                {"item": item, "chance": {"acc1": 0.0625}},
            )
        scored = {"data": "imagenet1k", "headline": {"acc1": 0.25, "acc5": 0.5, "score": 0.25}}
        files.write_json(root / "results/small/evaluate/imagenet1k.json", scored)
        export.main()
        for seed, name in enumerate(("image", "other")):
            pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"{name}.jpg")
    for name, model in (
        ("imagenet1k", Classification(ClassificationConfig(BASE, 1000))),
        ("main", MaskedModeling(MaskedModelingConfig(BASE, codebook_size=8))),
    ):
        checkpoint.save(model, root / "exports/paper" / name)
