"""BEiTv2's released tokenizers: files in their layout give the ids that BEiTv2 would, and others
are refused."""

import argparse
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import erf

from model import checkpoint
from model.tokenizer.vqkd import VQKDConfig
from pipeline.data.transforms import images
from pipeline.errors import UserError
from pipeline.tokenizers import vqkd_training
from pipeline.tokenizers.beitv2_import import read_official, released_shapes
from pipeline.tokenizers.vqkd_training import TokenizerDimensions, VQKDJob
from pipeline.tracking import client as tracking
from pipeline.utils import files
from tests.helpers import toy_images
from tests.pipeline.tokenizers.test_vqkd_training import PARAMS

BASE = VQKDConfig(
    image_size=224,
    patch_size=16,
    depth=12,
    decoder_depth=3,
    embed_dim=768,
    num_heads=12,
    codebook_size=8192,
    codebook_dim=32,
    teacher_dim=512,
    ema_decay=0.99,
    codebook_start_step=0,
)
TINY = VQKDConfig(
    image_size=16,
    patch_size=4,
    depth=2,
    decoder_depth=1,
    embed_dim=16,
    num_heads=2,
    codebook_size=12,
    codebook_dim=4,
    teacher_dim=512,
    ema_decay=0.9,
    codebook_start_step=0,
)


def released(config: VQKDConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a released file, written down from BEiTv2's module."""
    width, size, dim = config.embed_dim, config.codebook_size, config.codebook_dim
    shapes = {
        "quantize.cluster_size": (size,),
        "quantize.embedding.weight": (size, dim),
        "quantize.embedding.cluster_size": (size,),
        "quantize.embedding.embed_avg": (size, dim),
        "quantize.embedding.initted": (1,),
    }
    for part, depth, channels, side in (
        ("encoder", config.depth, 3, config.patch_size),
        ("decoder", config.decoder_depth, dim, 1),
    ):
        shapes |= {
            f"{part}.cls_token": (1, 1, width),
            f"{part}.pos_embed": (1, 1 + config.grid**2, width),
            f"{part}.patch_embed.proj.weight": (width, channels, side, side),
            f"{part}.patch_embed.proj.bias": (width,),
            f"{part}.fc_norm.weight": (width,),
            f"{part}.fc_norm.bias": (width,),
        }
        for block in (f"{part}.blocks.{number}" for number in range(depth)):
            shapes |= {
                f"{block}.{norm}.{kind}": (width,)
                for norm in ("norm1", "norm2")
                for kind in ("weight", "bias")
            }
            shapes |= {
                f"{block}.attn.q_bias": (width,),
                f"{block}.attn.v_bias": (width,),
                f"{block}.attn.qkv.weight": (3 * width, width),
                f"{block}.attn.proj.weight": (width, width),
                f"{block}.attn.proj.bias": (width,),
                f"{block}.mlp.fc1.weight": (4 * width, width),
                f"{block}.mlp.fc1.bias": (4 * width,),
                f"{block}.mlp.fc2.weight": (width, 4 * width),
                f"{block}.mlp.fc2.bias": (width,),
            }
    for layer, out in (("encode_task_layer", dim), ("decode_task_layer", config.teacher_dim)):
        shapes |= {
            f"{layer}.0.weight": (width, width),
            f"{layer}.0.bias": (width,),
            f"{layer}.2.weight": (out, width),
            f"{layer}.2.bias": (out,),
        }
    return shapes


CODEBOOK = (TINY.codebook_size, TINY.codebook_dim)


def state(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Random tensors of these shapes, with what BEiTv2's loader passes over; changes: other tensors,
    or None for none."""
    random = torch.Generator().manual_seed(5)
    tensors = {
        name: torch.randn(shape, generator=random) * 0.3 for name, shape in released(TINY).items()
    }
    tensors["quantize.embedding.weight"] /= tensors["quantize.embedding.weight"].norm(
        dim=1, keepdim=True
    )
    tensors["quantize.embedding.initted"] = torch.ones(1)
    tensors |= {
        "teacher_model.x": torch.ones(1),
        "scaling_layer.shift": torch.ones(1),
        "loss_fn.w": torch.ones(2),
    }
    return {name: tensor for name, tensor in (tensors | changes).items() if tensor is not None}


def saved(path: Path, key: str = "model", **changes: torch.Tensor | None) -> Path:
    """A file as BEiTv2's training code saves it."""
    torch.save(
        {
            key: state(**changes),
            "args": argparse.Namespace(lr=1.0, betas=[0.9, 0.99], output=None),
            "epoch": 99,
        },
        path,
    )
    return path


def reference_ids(tensors: dict[str, torch.Tensor], images: np.ndarray) -> np.ndarray:
    """What `get_codebook_indices` computes: images float [n, 3, side, side] in 0..1 to ids, in
    fp64, head by head."""
    p = {name: tensor.double().numpy() for name, tensor in tensors.items()}

    def linear(x, name, bias=True):
        return x @ p[f"{name}.weight"].T + (p[f"{name}.bias"] if bias else 0)

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * p[f"{name}.weight"] + p[f"{name}.bias"]

    def attention(x, name):
        q, k, v = np.split(linear(x, f"{name}.qkv", bias=False), 3, axis=-1)
        q, v, out = q + p[f"{name}.q_bias"], v + p[f"{name}.v_bias"], []
        for head in np.split(np.arange(TINY.embed_dim), TINY.num_heads):
            scores = q[..., head] @ k[..., head].transpose(0, 2, 1) / math.sqrt(len(head))
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            out.append(scores / scores.sum(-1, keepdims=True) @ v[..., head])
        return linear(np.concatenate(out, axis=-1), f"{name}.proj")

    side = TINY.patch_size
    pixels = images * 255 / 127.5 - 1
    patches = [
        pixels[:, :, y : y + side, x : x + side].reshape(len(pixels), -1)
        for y in range(0, pixels.shape[2], side)
        for x in range(0, pixels.shape[3], side)
    ]
    kernel = p["encoder.patch_embed.proj.weight"].reshape(TINY.embed_dim, -1)
    x = np.stack(patches, axis=1) @ kernel.T + p["encoder.patch_embed.proj.bias"]
    x = (
        np.concatenate([np.repeat(p["encoder.cls_token"], len(x), axis=0), x], axis=1)
        + p["encoder.pos_embed"]
    )
    for block in (f"encoder.blocks.{number}" for number in range(TINY.depth)):
        x = x + attention(norm(x, f"{block}.norm1"), f"{block}.attn")
        hidden = linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")
        x = x + linear(hidden * (1 + erf(hidden / math.sqrt(2))) / 2, f"{block}.mlp.fc2")
    x = norm(x[:, 1:], "encoder.fc_norm")
    x = linear(np.tanh(linear(x, "encode_task_layer.0")), "encode_task_layer.2")
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    distances = ((x[:, :, None] - p["quantize.embedding.weight"]) ** 2).sum(-1)
    return distances.argmin(-1)


def test_shapes_at_base_size_are_those_of_the_released_files():
    shapes = released(BASE)
    assert len(shapes) == 220 and sum(map(math.prod, shapes.values())) == 109_369_889
    assert released_shapes(BASE) == shapes
    of_dino = released_shapes(replace(BASE, teacher_dim=768))
    assert of_dino["decode_task_layer.2.weight"] == (768, 768)


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_ids_are_those_of_beitv2(tmp_path, key):
    tokenizer = read_official(str(saved(tmp_path / "vqkd.pth", key)), TINY)
    pixels = torch.randint(
        0, 256, (6, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    ids = tokenizer.token_ids(images.normalize(pixels))
    expected = reference_ids(state(), pixels.permute(0, 3, 1, 2).double().numpy() / 255)
    assert ids.dtype == torch.int64 and np.array_equal(ids.numpy(), expected)
    assert len(ids.unique()) > 3


def test_a_released_file_is_imported_by_the_stage(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "installed", lambda: False)
    toy_images.write(tmp_path / "shards" / "coco", {"train": 12, "val": 6})
    (tmp_path / "work").mkdir()
    size = TokenizerDimensions(
        image_size=TINY.image_size,
        patch_size=TINY.patch_size,
        depth=TINY.depth,
        decoder_depth=TINY.decoder_depth,
        embed_dim=TINY.embed_dim,
        num_heads=TINY.num_heads,
        codebook_size=TINY.codebook_size,
        codebook_dim=TINY.codebook_dim,
    )
    params = replace(
        PARAMS,
        origin="official",
        teacher="clip",
        dimensions=size,
        official_file=str(saved(tmp_path / "vqkd.pth")),
    )
    vqkd_training.run(VQKDJob(tmp_path / "work", tmp_path / "shards", params))
    out = tmp_path / "work" / "finished"
    pixels = torch.rand(3, 3, 16, 16) * 2 - 1
    assert torch.equal(
        checkpoint.load(out / "model").token_ids(pixels),
        read_official(params.official_file, TINY).token_ids(pixels),
    )
    assert set(files.read_json(out / "metrics.json")) == {"codebook_usage", "codebook_perplexity"}
    with pytest.raises(
        UserError, match="teacher: that of a released file is clip or dino, not hog"
    ):
        replace(params, teacher="hog")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantize.embedding.initted": torch.zeros(1)}, "never started"),
        (
            {"quantize.embedding.weight": torch.ones(CODEBOOK)},
            "codebook vectors are of length one, these are of 2 to 2",
        ),
        ({"quantize.embedding.weight": torch.full(CODEBOOK, math.nan)}, "these are of nan to nan"),
        (
            {"encode_task_layer.0.bias": torch.full((16,), math.inf)},
            "16 of the 16 numbers of encode_task_layer.0.bias are NaN or infinite",
        ),
        (
            {"encoder.cls_token": torch.zeros(1, 1, 8)},
            r"encoder.cls_token has shape \(1, 1, 8\), .* \(1, 1, 16\)",
        ),
        ({"decode_task_layer.2.bias": torch.zeros(768)}, "decode_task_layer.2.bias has shape"),
        (
            {"encoder.blocks.1.attn.q_bias": None},
            "1 of 64 tensors are missing, such as encoder.blocks.1.attn.q_bias",
        ),
        (
            {"encoder.blocks.0.gamma_1": torch.ones(16)},
            "1 tensors too many, such as encoder.blocks.0.gamma_1",
        ),
        (
            {"decoder.blocks.1.norm1.bias": torch.ones(16)},
            "1 tensors too many, such as decoder.blocks.1.norm1.bias",
        ),
    ],
)
def test_other_tensors_are_refused_by_name(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        read_official(str(saved(tmp_path / "vqkd.pth", **changes)), TINY)
    assert "\n" not in str(caught.value)


class Malicious:
    """What runs a command where a file is unpickled without care."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_file_cannot_execute_anything(tmp_path):
    path = tmp_path / "vqkd.pth"
    torch.save({"model": state(), "args": Malicious(tmp_path / "harm")}, path)
    with pytest.raises(
        UserError, match="it has a posix.mkdir in it, which could run code"
    ) as caught:
        read_official(str(path), TINY)
    assert "\n" not in str(caught.value) and not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"nothing", "not a checkpoint"),
        (b"", "not a checkpoint"),
        ({"encoder": 1}, "no tensors under the key `model` or `state_dict`"),
        ([1], "no tensors under the key"),
        ({"model": {"a": "b"}}, "no tensors under the key"),
        ({"model": {"a": torch.ones(1)}}, "64 of 64 .* are missing"),
    ],
)
def test_files_of_another_kind_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "vqkd.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=message) as caught:
        read_official(str(path), TINY)
    assert "\n" not in str(caught.value)
