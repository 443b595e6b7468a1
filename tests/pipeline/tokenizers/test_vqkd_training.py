"""VQ-KD trains in the shared loop, is published, and released files can be imported instead."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from model import checkpoint
from model.tokenizer.vqkd import VQKD
from pipeline.data.loading.sampler import MicroBatch, OrderParams
from pipeline.data.transforms.views import ViewParams
from pipeline.tokenizers import vqkd_training
from pipeline.tokenizers.vqkd_training import (
    LossWeightParams,
    TokenizerDimensions,
    VisualTokenizerParams,
    VQKDJob,
    VQKDTask,
    config,
)
from pipeline.tracking import client as tracking
from pipeline.training import curves
from pipeline.training.loop import LoopParams
from pipeline.training.optim import parameter_groups
from pipeline.utils import files
from tests.helpers import toy_images

PARAMS = VisualTokenizerParams(
    origin="train",
    official_file=None,
    seed=1,
    ema_decay=0.9,
    codebook_start_step=3,
    teacher="hog",
    teacher_file=None,
    dimensions=TokenizerDimensions(
        image_size=16,
        patch_size=4,
        depth=1,
        decoder_depth=1,
        embed_dim=16,
        num_heads=2,
        codebook_size=12,
        codebook_dim=4,
    ),
    sources={"coco": 1},
    order=OrderParams(streams=2, shuffle_block=1, batch_size=8),
    views=ViewParams([0.5, 1.0], 0.0, 0.1),
    loss_weights=LossWeightParams(cosine=1.0, commitment=1.0),
    steps=12,
    lr=0.005,
    min_lr=0.0,
    warmup_steps=2,
    schedule="cosine",
    weight_decay=1e-4,
    betas=[0.9, 0.99],
    eps=1e-8,
    max_grad_norm=0.0,
    head_lr_mult=1.0,
    layer_decay=1.0,
    loop=LoopParams(
        precision="fp32",
        gradient_accumulation=1,
        parallel="ddp",
        activation_checkpointing=False,
        loader_workers=0,
        log_every=4,
        evaluate_every=12,
        checkpoint_every=4,
        max_nonfinite_steps=2,
    ),
    evaluation_images=6,
    num_workers=0,
    threads=1,
)


@pytest.fixture
def job(tmp_path, monkeypatch) -> VQKDJob:
    monkeypatch.setattr(tracking, "installed", lambda: False)
    torch.set_num_threads(1)
    toy_images.write(tmp_path / "shards" / "coco", {"train": 24, "val": 6})
    (tmp_path / "work").mkdir()
    return VQKDJob(tmp_path / "work", tmp_path / "shards", PARAMS)


def result(job: VQKDJob) -> Path:
    vqkd_training.run(job)
    return job.work_dir / "finished"


def test_training_leaves_a_tokenizer_its_curve_and_metrics(job):
    out = result(job)
    tokenizer = checkpoint.load(out / "model")
    assert (
        type(tokenizer).__name__ == "VisualTokenizer" and tokenizer.quantize.embedding.initted == 1
    )
    assert not [name for name in tokenizer.state_dict() if name.startswith("decode")]
    metrics = files.read_json(out / "metrics.json")
    assert set(metrics) == {"teacher_cosine", "codebook_usage", "codebook_perplexity"}
    assert (
        0 < metrics["codebook_usage"] <= 1 <= metrics["codebook_perplexity"] <= 12
        and metrics["teacher_cosine"] > 0.5
    )
    kinds = [row.kind for row in curves.read_published(out)]
    assert kinds == ["train", "train", "train", "validation"]


def test_a_resumed_training_ends_with_the_same_bytes(job, tmp_path):
    whole = result(job)
    (tmp_path / "other").mkdir()
    other = VQKDJob(tmp_path / "other", job.shards, job.params)
    [checkpoint_8] = job.work_dir.glob("checkpoint-00000008-*.pt")
    shutil.copy(checkpoint_8, other.work_dir)
    again = result(other)
    for name in ("model/model.safetensors", "train.csv", "validation.csv", "metrics.json"):
        assert (again / name).read_bytes() == (whole / name).read_bytes()


def test_losses_are_cosine_distance_and_commitment(job):
    task = VQKDTask(job.shards, job.params)
    task.model.eval()
    batch = task.batches[MicroBatch(0)]
    losses, num_targets = task.loss(task.model, batch), task.num_targets(batch)
    pixels = batch["pixels"].permute(0, 3, 1, 2) / 127.5 - 1
    decoded = task.model(pixels)
    cosine = F.cosine_similarity(decoded.features, task.teacher(pixels), dim=-1)
    assert batch["pixels"].shape == (8, 16, 16, 3) and batch["pixels"].dtype == torch.uint8
    assert torch.allclose(losses["cosine"] / num_targets["cosine"], (1 - cosine).mean(), atol=1e-6)
    commitment = F.mse_loss(decoded.inputs, decoded.quantized)
    assert torch.allclose(losses["commitment"] / num_targets["commitment"], commitment, atol=1e-6)


def test_weight_decay_spares_cls_positions_and_vectors(job):
    model = VQKD(config(PARAMS, 7))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    spared = {
        names[id(p)]
        for group in parameter_groups(model, PARAMS)
        if group["weight_decay"] == 0
        for p in group["params"]
    }
    some = {
        "encoder.cls_token",
        "decoder.pos_embed",
        "encoder.fc_norm.weight",
        "encoder.blocks.0.attn.q_bias",
    }
    assert some <= spared
    assert not any(name.endswith(("qkv.weight", "fc1.weight", "layer.0.weight")) for name in spared)
    assert not any("quantize" in name for name in names.values())


def test_sources_without_a_pass_are_not_read(job):
    job = replace(job, params=replace(PARAMS, sources={"coco": 1, "sbu": 0}))
    assert vqkd_training.inputs(job.shards, job.params) == [job.shards / "coco" / "index.json"]
    assert len(list(vqkd_training.evaluation_images(job.shards, job.params, ("val",)))) == 1
    assert len(VQKDTask(job.shards, job.params).batches[MicroBatch(0)]["pixels"]) == 8
