"""The multimodal Transformer: sizes, initialization, routing and masks against small references."""

import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from model import checkpoint
from model.backbone.chunked_cross_entropy import cross_entropy, linear_cross_entropy
from model.backbone.config import BackboneConfig
from model.backbone.layers import Attention, drop_path_scale
from model.backbone.pos_embed import resize_image_positions
from model.backbone.token_layout import ModalityTokens
from model.backbone.vl_beit import BackboneInput, VLBeit
from model.pretraining.batches import PretrainingBatch, TextBatch
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig

TINY = BackboneConfig(
    image_size=12,
    patch_size=4,
    depth=2,
    embed_dim=16,
    num_heads=2,
    mlp_dim=32,
    vocab_size=30,
    text_length=10,
    experts="mome",
    drop_path=0.5,
    init_std=0.02,
)


def pair(batch=3, length=7):
    torch.manual_seed(0)
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[0, 5:] = False
    return torch.rand(batch, 3, 12, 12) * 2 - 1, torch.randint(5, 30, (batch, length)), mask


def test_attention_is_softmax_of_scaled_products_with_no_key_bias():
    torch.manual_seed(0)
    attention, x = Attention(8, 2), torch.randn(2, 5, 8)
    torch.nn.init.normal_(attention.q_bias)
    torch.nn.init.normal_(attention.v_bias)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    q, k, v = (x @ attention.qkv.weight.T).chunk(3, dim=-1)
    q, v = q + attention.q_bias, v + attention.v_bias
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        scores = q[..., head] @ k[..., head].transpose(1, 2) / 2.0
        scores = scores.masked_fill(~mask[:, None, :], float("-inf"))
        heads.append(scores.softmax(-1) @ v[..., head])
    expected = attention.proj(torch.cat(heads, dim=-1))
    torch.testing.assert_close(attention(x, mask[:, None, None, :]), expected, rtol=1e-5, atol=1e-6)


def test_each_modality_meets_only_its_own_expert():
    model = VLBeit(TINY).eval()
    image, text, mask = pair()
    before_text, before_image = model(text=text, text_mask=mask).text, model(image).image
    with torch.no_grad():
        for block in model.blocks:
            block.image_expert.mlp.fc1.weight.add_(1.0)
    assert torch.equal(model(text=text, text_mask=mask).text, before_text)
    assert not torch.allclose(model(image).image, before_image)


def test_in_a_pair_both_modalities_see_each_other():
    model = VLBeit(TINY).eval()
    image, text, mask = pair()
    both = model(image, text, text_mask=mask)
    other = model(image.flip(0), text, text_mask=mask)
    assert both.text.shape == (3, 7, 16) and both.image.shape == (3, 10, 16)
    assert not torch.allclose(both.text, other.text)
    assert not torch.allclose(both.image, model(image, text.flip(0), text_mask=mask.flip(0)).image)


def test_padding_is_never_attended_to():
    model = VLBeit(TINY).eval()
    image, text, mask = pair()
    changed = torch.where(mask, text, 3)
    for kwargs in ({}, {"image": image}):
        before = model(text=text, text_mask=mask, **kwargs)
        after = model(text=changed, text_mask=mask, **kwargs)
        torch.testing.assert_close(before.text[mask], after.text[mask])
    shorter = model(image[:1], text[:1, :5])
    torch.testing.assert_close(shorter.image, model(image[:1], text[:1], text_mask=mask[:1]).image)


def test_the_mask_token_replaces_the_patch_before_its_position_is_added():
    model = VLBeit(TINY)
    torch.nn.init.normal_(model.mask_token)
    image, _, _ = pair(1)
    masked = torch.zeros(1, 9, dtype=torch.bool)
    masked[0, 4] = True
    plain, replaced = model.embed_image(image, None), model.embed_image(image, masked)
    expected = model.mask_token[0, 0] + model.image_positions[0, 5]  # row 0 is [I_CLS]
    torch.testing.assert_close(replaced[0, 5], expected)
    rest = [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert torch.equal(replaced[0, rest], plain[0, rest])


def test_a_masked_patch_cannot_be_seen():
    model = VLBeit(TINY).eval()
    image, _, _ = pair(1)
    masked = torch.zeros(1, 9, dtype=torch.bool)
    masked[0, 0] = True
    changed = image.clone()
    changed[:, :, :4, :4] = 0.9
    assert torch.equal(
        model(image, image_masked=masked).image, model(changed, image_masked=masked).image
    )


def test_standard_transformer_uses_one_expert_for_all_tokens():
    model = VLBeit(replace(TINY, experts="standard")).eval()
    image, text, mask = pair()
    assert model(image, text, text_mask=mask).text.shape == (3, 7, 16)
    assert not any("text_expert" in name for name, _ in model.named_parameters())


def test_drop_path_keeps_the_expectation_and_drops_whole_samples():
    noise = torch.rand(1000, 2, 3, generator=torch.Generator().manual_seed(0))
    factors = drop_path_scale(noise, torch.tensor([0.0, 0.25]))
    assert (factors[:, 0] == 1).all()
    assert factors[:, 1].unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert ((factors[:, 1] == 0) == (noise[:, 1] < 0.25)).all()
    assert factors[:, 1].mean().item() == pytest.approx(1.0, abs=0.05)
    model, (image, _, _) = VLBeit(TINY), pair()
    none, all_of_block_1 = torch.ones(3, 2, 3), torch.ones(3, 2, 3)
    all_of_block_1[1, 1] = 0.0  # of the second sample
    model.norm = torch.nn.Identity()
    through, (before, _) = (
        model(image, drop_path_noise=all_of_block_1).image,
        model.image_features(image, [0, 1], none),
    )
    assert torch.equal(through[1], before[1]) and not torch.allclose(through[0], before[0])


def test_drop_path_of_a_sample_does_not_depend_on_its_batch():
    model = VLBeit(TINY).train()
    image, text, mask = pair()
    drop_path_noise = torch.rand(3, 2, 3)
    whole = model(image, text, text_mask=mask, drop_path_noise=drop_path_noise)
    part = model(image[1:], text[1:], text_mask=mask[1:], drop_path_noise=drop_path_noise[1:])
    torch.testing.assert_close(whole.image[1:], part.image)


@pytest.mark.parametrize(("old", "new"), [(3, 6), (14, 24), (14, 32), (6, 4)])
def test_positions_keep_the_cls_row_and_follow_the_grid(old, new):
    table = torch.randn(1, 1 + old**2, 4)
    assert resize_image_positions(table, old) is table
    resized = resize_image_positions(table, new)
    assert resized.shape == (1, 1 + new**2, 4) and torch.equal(resized[:, 0], table[:, 0])
    grid, weights = table[0, 1:].reshape(old, old, 4).double().numpy(), cubic_weights(old, new)
    expected = np.einsum("ai,bj,ijc->abc", weights, weights, grid).reshape(new**2, 4)
    np.testing.assert_allclose(resized[0, 1:].numpy(), expected, atol=1e-4)


def cubic_weights(old, new):
    """Keys' cubic convolution (a = -0.75) at half-pixel centres, edges repeated: [new, old]."""

    def kernel(x, a=-0.75):
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    weights = np.zeros((new, old))
    for row in range(new):
        centre = (row + 0.5) * old / new - 0.5
        for tap in range(math.floor(centre) - 1, math.floor(centre) + 3):
            weights[row, min(max(tap, 0), old - 1)] += kernel(centre - tap)
    return weights


def test_losses_count_only_masked_positions():
    model = MaskedModeling(MaskedModelingConfig(TINY, codebook_size=11)).eval()
    _, text, mask = pair()
    positions = torch.tensor([1, 8, 15])
    texts = TextBatch(text, mask, masked_positions=positions, targets=torch.tensor([6, 7, 8]))
    loss = model(PretrainingBatch(texts=texts))["mlm"]
    logits = model.mlm_head(model.backbone(text=text, text_mask=mask).text.reshape(-1, 16))[
        positions
    ]
    expected = -logits.log_softmax(-1)[range(3), [6, 7, 8]].sum()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("chunk", [1, 90, 10**6])
def test_cross_entropy_in_chunks_is_the_same_with_the_same_gradient(chunk):
    torch.manual_seed(0)
    x = torch.randn(7, 16, requires_grad=True)
    weight = torch.randn(30, 16, requires_grad=True)
    bias = torch.randn(30, requires_grad=True)
    targets = torch.randint(0, 30, (7,))
    plain = cross_entropy(torch.nn.functional.linear(x, weight, bias), targets)
    chunked = linear_cross_entropy(x, weight, bias, targets, chunk=chunk)
    torch.testing.assert_close(chunked, plain)
    inputs = (x, weight, bias)
    actual = torch.autograd.grad(chunked * 0.3, inputs)
    expected = torch.autograd.grad(plain * 0.3, inputs)
    torch.testing.assert_close(actual, expected)


def test_inputs_in_one_pass_are_as_each_alone():
    model, (image, text, mask) = VLBeit(TINY), pair()
    drop_path_noise = torch.rand(3, 2, 3)
    inputs = [
        BackboneInput(text=text[:2], drop_path_noise=drop_path_noise[:2]),
        BackboneInput(image, text, mask, drop_path_noise=drop_path_noise),
        BackboneInput(image, drop_path_noise=drop_path_noise),
    ]
    for batch, together in zip(inputs, model.encode(inputs), strict=True):
        alone = model.encode([batch])[0]
        for one, other in ((together.text, alone.text), (together.image, alone.image)):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other)


KINDS = {
    "mome": {},
    "standard": {"experts": "standard"},
    "pair expert": {"vl_ffn_start_layer": 1},
    "layer scale": {"layer_scale": 0.1, "relative_bias": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_of_the_last_block_is_as_in_the_whole(kind):
    """Values and gradients; experts that nobody reads have a gradient of zero, not none."""
    model, image, text, mask, drop_path_noise = in_doubles(KINDS[kind])
    inputs = [
        BackboneInput(text=text[:2], drop_path_noise=drop_path_noise[:2]),
        BackboneInput(image, text, mask, drop_path_noise=drop_path_noise),
        BackboneInput(image, drop_path_noise=drop_path_noise),
    ]
    none = torch.tensor([], dtype=torch.int64)
    some, others = torch.tensor([0, 4, 13]), torch.tensor([2, 9, 25])
    positions = [
        ModalityTokens(some, none),
        ModalityTokens(others[:1], some),
        ModalityTokens(none, others),
    ]
    read = model.encode_at(inputs, positions)
    whole = model.encode(inputs)
    actual, expected = [], []
    for selected, encoded, position in zip(read, whole, positions, strict=True):
        for half in ("text", "image"):
            vectors = getattr(encoded, half)
            if vectors is not None:
                actual.append(getattr(selected, half))
                expected.append(vectors.flatten(0, 1)[getattr(position, half)])
    torch.testing.assert_close(actual, expected)
    compare_gradients(model, torch.cat(actual), torch.cat(expected))


@pytest.mark.parametrize("kind", KINDS)
def test_the_class_vector_is_the_first_of_the_sequence(kind):
    model, image, text, mask, drop_path_noise = in_doubles(KINDS[kind])
    for inputs, half in (
        ({"image": image}, "image"),
        ({"text": text, "text_mask": mask}, "text"),
        ({"image": image, "text": text, "text_mask": mask}, "text"),
    ):
        cls = model.cls(**inputs, drop_path_noise=drop_path_noise)
        whole = model(**inputs, drop_path_noise=drop_path_noise)
        compare_gradients(model, cls, getattr(whole, half)[:, 0])


def in_doubles(kind):
    """A model and its inputs: gradients compared in fp32 are rounding where they cancel out."""
    image, text, mask = pair()
    return (
        VLBeit(replace(TINY, **kind)).double(),
        image.double(),
        text,
        mask,
        torch.rand(3, 2, 3).double(),
    )


def compare_gradients(model, actual, expected):
    """Both [n, embed_dim], and what they make of the parameters' gradients; where the whole has
    one, the part has."""
    torch.testing.assert_close(actual, expected)
    weights, parameters = torch.randn_like(actual), list(model.parameters())
    part = torch.autograd.grad((actual * weights).sum(), parameters, allow_unused=True)
    whole = torch.autograd.grad((expected * weights).sum(), parameters, allow_unused=True)
    for (name, _), gradient, wanted in zip(model.named_parameters(), part, whole, strict=True):
        assert gradient is not None or wanted is None, name
        if gradient is not None:
            torch.testing.assert_close(
                gradient, torch.zeros_like(gradient) if wanted is None else wanted, msg=name
            )


def test_blocks_compile_whole_and_for_any_length():
    plain, (image, text, mask) = VLBeit(TINY), pair()
    compiled = deepcopy(plain)
    compiled.compile_blocks(backend="eager", fullgraph=True)
    for end in (7, 6, 5):
        inputs = [
            BackboneInput(text=text[:, :end]),
            BackboneInput(image, text[:, :end], mask[:, :end]),
            BackboneInput(image),
        ]
        for one, other in zip(compiled.encode(inputs), plain.encode(inputs), strict=True):
            for half in ("text", "image"):
                if (expected := getattr(other, half)) is not None:
                    torch.testing.assert_close(getattr(one, half), expected)
        read, expected = (
            net.cls(image, text[:, :end], text_mask=mask[:, :end]) for net in (compiled, plain)
        )
        torch.testing.assert_close(read, expected)
    assert plain.state_dict().keys() == compiled.state_dict().keys()


def test_blocks_stay_compiled_whatever_goes_through_them():
    net, (image, text, mask) = VLBeit(TINY), pair()
    net.compile_blocks(
        backend="eager", fullgraph=True
    )  # raises where too many kinds of inputs have been met
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with context():
            for end in (7, 6, 5):
                net.encode(
                    [
                        BackboneInput(text=text[:, :end]),
                        BackboneInput(image, text[:, :end], mask[:, :end]),
                        BackboneInput(image),
                    ]
                )
                net.cls(image)
                net.cls(text=text[:, :end], text_mask=mask[:, :end])
                net.cls(
                    image,
                    text[:, :end],
                    text_mask=mask[:, :end],
                    drop_path_noise=torch.rand(len(text), TINY.depth, 3),
                )


def test_cross_entropy_is_a_sum_in_fp32():
    logits = torch.randn(4, 5).bfloat16()
    total = cross_entropy(logits, torch.tensor([0, 1, 2, 3]))
    assert total.dtype == torch.float32
    expected = sum(-logits[row].float().log_softmax(-1)[row] for row in range(4))
    torch.testing.assert_close(total, expected)


def test_a_saved_model_comes_back_and_gives_a_larger_backbone_its_weights(tmp_path):
    torch.manual_seed(0)
    model = MaskedModeling(MaskedModelingConfig(TINY, codebook_size=11)).eval()
    checkpoint.save(model, tmp_path)
    loaded = checkpoint.load(tmp_path)
    image, text, mask = pair()
    before, after = (net.backbone(image, text, text_mask=mask).text for net in (model, loaded))
    assert torch.equal(before, after)
    larger = VLBeit(replace(TINY, image_size=24))
    report = checkpoint.load_backbone(larger, tmp_path)
    assert report.resized == ["image_positions"] and not report.missing
    assert sorted(report.unexpected) == [
        "mim_head.bias",
        "mim_head.weight",
        "mlm_head.bias",
        "mlm_head.weight",
    ]
    assert torch.equal(
        larger.blocks[1].text_expert.mlp.fc1.weight,
        model.backbone.blocks[1].text_expert.mlp.fc1.weight,
    )


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path):
    checkpoint.save(MaskedModeling(MaskedModelingConfig(TINY, codebook_size=11)), tmp_path)
    with pytest.raises(ValueError, match="word_embed.weight"):
        checkpoint.load_backbone(VLBeit(replace(TINY, vocab_size=31)), tmp_path)
    with pytest.raises(ValueError, match="no weights for"):
        checkpoint.load_backbone(VLBeit(replace(TINY, depth=3)), tmp_path)


def test_saved_bytes_are_a_function_of_the_weights(tmp_path):
    for name in ("a", "b"):
        torch.manual_seed(0)
        checkpoint.save(VLBeit(TINY), tmp_path / name)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (
        tmp_path / "b/model.safetensors"
    ).read_bytes()
