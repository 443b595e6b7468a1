"""VQ-KD has the released tokenizer's shape and tensors; its teachers see what they should."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from model import checkpoint
from model.tokenizer.teachers import (
    BIAS,
    BINS,
    CELLS,
    COLOR_WEIGHT,
    HOG_WEIGHT,
    LUMA,
    SOFT_EDGE,
    Hog,
)
from model.tokenizer.vqkd import VQKD, VisualTokenizer, VQKDConfig

TINY = VQKDConfig(
    image_size=16,
    patch_size=4,
    depth=2,
    decoder_depth=1,
    embed_dim=16,
    num_heads=2,
    codebook_size=10,
    codebook_dim=6,
    teacher_dim=7,
    ema_decay=0.9,
    codebook_start_step=0,
)
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


def random_images(count: int, size: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def tokenizer() -> VisualTokenizer:
    torch.manual_seed(0)
    model = VisualTokenizer(TINY)
    model.quantize.embedding.weight.copy_(F.normalize(torch.randn(10, 6), dim=-1))
    return model.eval()


def test_parameters_of_the_base_size_are_the_released_tokenizer_s():
    with torch.device("meta"):
        model = VQKD(BASE)
    count = {}
    for name, part in model.named_children():
        count[name] = sum(parameter.numel() for parameter in part.parameters())
    assert count == {
        "encoder": 85_789_440,
        "encode_task_layer": 615_200,
        "quantize": 0,
        "decoder": 21_440_256,
        "decode_task_layer": 984_320,
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in {
        "encoder.cls_token": (1, 1, 768),
        "encoder.pos_embed": (1, 197, 768),
        "encoder.patch_embed.proj.weight": (768, 3, 16, 16),
        "encoder.blocks.11.attn.q_bias": (768,),
        "encoder.blocks.0.attn.qkv.weight": (2304, 768),
        "encoder.blocks.0.mlp.fc2.bias": (768,),
        "encoder.fc_norm.weight": (768,),
        "decoder.patch_embed.proj.weight": (768, 32, 1, 1),
        "quantize.embedding.weight": (8192, 32),
        "quantize.embedding.initted": (1,),
        "encode_task_layer.2.weight": (32, 768),
        "decode_task_layer.2.bias": (512,),
    }.items():
        assert shapes[name] == shape
    assert "encoder.blocks.0.attn.qkv.bias" not in shapes


def test_training_output_and_gradients():
    torch.manual_seed(0)
    model = VQKD(TINY).train()
    out = model(random_images(5))
    assert out.features.shape == (5, 16, 7) and out.inputs.shape == out.quantized.shape == (80, 6)
    (out.features.sum() + (out.inputs - out.quantized).square().sum()).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert not out.quantized.requires_grad


def test_ids_are_row_major_and_independent_of_the_batch(tokenizer):
    images = random_images(6)
    ids = tokenizer.token_ids(images)
    assert ids.shape == (6, 16) and ids.dtype == torch.int64
    assert torch.equal(
        torch.cat([tokenizer.token_ids(image[None]) for image in images.flip(0)]).flip(0), ids
    )
    features = tokenizer.encode(images)
    assert torch.equal(
        ids,
        torch.cdist(F.normalize(features, dim=-1), tokenizer.quantize.embedding.weight).argmin(-1),
    )
    rows = tokenizer.encoder.patch_embed(images).view(6, 4, 4, -1)
    assert torch.allclose(
        rows[:, 1, 2], tokenizer.encoder.patch_embed(images[:, :, 4:8, 8:12])[:, 0], atol=1e-6
    )


def test_a_vector_that_is_no_number_has_no_id(tokenizer):
    images = random_images(2)
    images[1, 0, 5, 9] = float("nan")
    ids = tokenizer.token_ids(images)
    assert (ids[1] == -1).all() and torch.equal(ids[0], tokenizer.token_ids(images[:1])[0])


def test_ids_ignore_autocast(tokenizer):
    with torch.autocast("cpu", torch.bfloat16):
        under = tokenizer.token_ids(random_images(6))
    assert torch.equal(under, tokenizer.token_ids(random_images(6)))


def test_other_sizes_work_through_resized_positions(tokenizer):
    assert tokenizer.token_ids(random_images(2, size=24)).shape == (2, 36)


def test_saved_and_loaded(tokenizer, tmp_path):
    checkpoint.save(tokenizer, tmp_path)
    assert torch.equal(
        checkpoint.load(tmp_path).token_ids(random_images(3)), tokenizer.token_ids(random_images(3))
    )


def reference_hog(image: np.ndarray, patch: int) -> np.ndarray:
    """[3, h, w] to [patches, dim], pixel by pixel."""
    gray = np.pad(np.tensordot(LUMA, image, 1), 1, mode="reflect")
    height, width, cell = *image.shape[1:], patch // CELLS
    histogram = np.zeros((BINS, height // cell, width // cell))
    for y in range(height):
        for x in range(width):
            dx = (gray[y + 1, x + 2] - gray[y + 1, x]) / 2
            dy = (gray[y + 2, x + 1] - gray[y, x + 1]) / 2
            orientation = (math.atan2(dy, dx) % math.pi) / math.pi * BINS
            low = int(orientation) % BINS
            for number, share in ((low, 1 - orientation % 1), ((low + 1) % BINS, orientation % 1)):
                histogram[number, y // cell, x // cell] += share * math.hypot(dx, dy) / cell**2
    out = []
    for top in range(0, height // cell, CELLS):
        for left in range(0, width // cell, CELLS):
            cells = [(top + i, left + j) for i in range(CELLS) for j in range(CELLS)]
            features = []
            for c in range(3):
                for y, x in cells:
                    color = image[c, y * cell : (y + 1) * cell, x * cell : (x + 1) * cell].mean()
                    features.append(color * COLOR_WEIGHT)
            for b in range(BINS):
                for y, x in cells:
                    total = histogram[:, y, x].sum() + SOFT_EDGE
                    features.append(histogram[b, y, x] / total * HOG_WEIGHT)
            out.append([*features, BIAS])
    return np.array(out)


def test_hog_is_its_definition():
    teacher, image = Hog(8), random_images(2, 24)
    features = teacher(image)
    assert features.shape == (2, 9, teacher.dim) and not features.requires_grad
    np.testing.assert_allclose(
        features[1].numpy(), reference_hog(image[1].double().numpy(), 8), atol=1e-4
    )


def test_hog_tells_color_and_direction_apart():
    flat = torch.zeros(1, 3, 8, 8)
    red, stripes = flat.clone(), flat.clone()
    red[:, 0] = 1
    stripes[:, :, :, ::4] = 1
    seen = Hog(8)(torch.cat([flat, red, stripes, stripes.transpose(2, 3)]))[:, 0]
    similar = F.cosine_similarity(seen[:, None], seen[None], dim=-1)
    assert (similar[~torch.eye(4, dtype=torch.bool)] < 0.75).all()


def test_hog_needs_whole_cells():
    with pytest.raises(ValueError, match="multiple"):
        Hog(7)
