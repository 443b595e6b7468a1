"""Retrieval: losses, hard negatives, recalls and reranking against straightforward references."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from model.backbone.config import BackboneConfig
from model.heads.retrieval import (
    DropPathNoise,
    HardNegatives,
    ImageTextPairs,
    Retrieval,
    RetrievalConfig,
    itc_loss,
    sample_hard_negatives,
)
from pipeline.data.loading.sampler import OrderParams
from pipeline.data.shards import parquet, schema
from pipeline.data.transforms import images
from pipeline.errors import UserError
from pipeline.tasks import Folders, evaluation
from pipeline.tasks.batch_results import unkept
from pipeline.tasks.ranking import ranks
from pipeline.tasks.retrieval import predict
from pipeline.tasks.retrieval.predict import (
    EvaluateParams,
    chance,
    evaluate,
    headline,
    match_logits,
    recall_errors,
    rerank,
)
from pipeline.tasks.retrieval.training.data import (
    EvaluationSet,
    InputParams,
    PairBatch,
    evaluation_set,
)
from pipeline.tasks.retrieval.training.global_negatives import Matching, of_one_pass
from pipeline.tasks.retrieval.training.metrics import dual_scores, first_ranks, mean_recall, recalls
from pipeline.tasks.retrieval.training.task import (
    FineTuneParams,
    LossWeightParams,
    Task,
    check_matching,
)
from tests.helpers.image_files import encoded
from tests.helpers.interrupted import resumed

TINY = BackboneConfig(
    image_size=8,
    patch_size=4,
    depth=2,
    embed_dim=16,
    num_heads=2,
    mlp_dim=32,
    vocab_size=30,
    text_length=10,
    experts="mome",
    drop_path=0.0,
    init_std=0.02,
)


def model():
    torch.manual_seed(0)
    return Retrieval(RetrievalConfig(TINY)).eval()


def batch(n=6):
    torch.manual_seed(1)
    pairs = ImageTextPairs(
        torch.rand(n, 3, 8, 8) * 2 - 1,
        torch.randint(5, 30, (n, 6)),
        torch.ones(n, 6, dtype=torch.bool),
    )
    noise = DropPathNoise(torch.rand(n, 2, 3), torch.rand(n, 2, 3), torch.rand(3, n, 2, 3))
    return pairs, noise


def next_as_negatives(pairs, itc):
    """ITC, and the next pair's halves as negatives."""
    return itc.loss, HardNegatives(
        pairs.pixels.roll(-1, 0), pairs.ids.roll(-1, 0), pairs.mask.roll(-1, 0)
    )


def losses(net, pairs, noise):
    return net(
        pairs,
        noise,
        lambda *features: next_as_negatives(pairs, itc_loss(*features, lambda rows: rows, 0)),
    )


def test_itc_is_the_mean_of_both_directions():
    net, (pairs, noise) = model(), batch()
    loss = losses(net, pairs, noise)["itc"]
    images, texts = net.encode_image(pairs.pixels), net.encode_text(pairs.ids, pairs.mask)
    logits = images @ texts.T / 0.07
    diagonal = range(6)
    expected = (
        -(
            logits.log_softmax(1)[diagonal, diagonal] + logits.log_softmax(0)[diagonal, diagonal]
        ).sum()
        / 2
    )
    torch.testing.assert_close(loss, expected)
    assert net.log_scale.item() == pytest.approx(math.log(1 / 0.07))


def test_itm_has_one_true_pair_and_two_negatives_per_sample():
    net, (pairs, noise) = model(), batch()
    loss = losses(net, pairs, noise)["itm"]
    image = text = [1, 2, 3, 4, 5, 0]
    terms = [
        net.match_logits(pairs.pixels, pairs.ids, pairs.mask).log_softmax(1)[:, 1],
        net.match_logits(pairs.pixels[image], pairs.ids, pairs.mask).log_softmax(1)[:, 0],
        net.match_logits(pairs.pixels, pairs.ids[text], pairs.mask).log_softmax(1)[:, 0],
    ]
    torch.testing.assert_close(loss, -torch.stack(terms).sum())


def test_itm_of_every_second_pair_is_that_of_these_pairs_alone():
    net, (pairs, noise) = model(), batch()
    some = ImageTextPairs(*(half[::2] for half in pairs))
    negatives = HardNegatives(*(half.roll(-1, 0)[::2] for half in pairs))
    drawn = torch.rand(3, 6, 2, 3)
    found = net(pairs, noise._replace(fusion=drawn), lambda *_: (torch.zeros(()), negatives))
    torch.testing.assert_close(found["itm"], net.itm_loss(some, negatives, drawn[:, ::2]))


def test_pairs_are_matched_whatever_workers_they_are_on():
    order = OrderParams(streams=4, shuffle_block=1, batch_size=24)
    inputs = InputParams(8, 10, None, None, order)
    params = SimpleNamespace(inputs=inputs, matching_every=4, matching=Matching(4, 1.0))
    with pytest.raises(UserError, match="^matching_every 4: batch_size 24 over streams 4 is not"):
        check_matching(params)
    params.matching_every = 3
    check_matching(params)
    params.matching_every, params.matching = 4, None  # no pair is matched
    check_matching(params)


def test_hard_negatives_follow_the_softmax_and_avoid_the_own_image():
    logits = torch.tensor([[5.0, 1.0, 0.0, 2.0]]).expand(20_000, -1)
    is_negative = torch.tensor([[False, True, True, True]]).expand(20_000, -1)
    noise = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    share = sample_hard_negatives(logits, is_negative, noise).bincount(minlength=4) / 20_000
    expected = torch.tensor([1.0, 0.0, 2.0]).softmax(0)
    assert share[0] == 0
    torch.testing.assert_close(share[1:], expected, atol=0.015, rtol=0)


def test_hard_negatives_survive_a_row_where_all_the_weight_is_on_the_own_image():
    logits = torch.tensor([[1000.0, -1000.0, -1000.0]])
    is_negative = torch.tensor([[False, True, True]])
    for draw in (0.0, 0.3, 0.999999):
        assert sample_hard_negatives(logits, is_negative, torch.tensor([draw])).item() in (1, 2)


@pytest.mark.parametrize(("hardness", "drawn"), [(1.0, [1, 1, 1]), (0.0, [1, 1, 2])])
def test_hardness_says_whether_similarity_or_chance_draws_negatives(hardness, drawn):
    """The first pair is like the second and unlike the third; its noise asks for the first, a
    middle and the last of the two."""
    features = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0]]))
    for noise, column in zip((0.1, 0.4, 0.9), drawn, strict=True):
        pairs = PairBatch(
            torch.zeros(3, 8, 8, 3, dtype=torch.uint8),
            torch.arange(3)[:, None],
            torch.ones(3, 1, dtype=torch.bool),
            torch.arange(3),
            torch.full((3, 2), noise, dtype=torch.float64),
            torch.zeros(5, 3, 2, 3),
        )
        negatives = of_one_pass(pairs, Matching(every=3, hardness=hardness))
        _, hard = negatives(features, features, torch.tensor(4.0))
        assert hard is not None and hard.ids.tolist() == [[column]]


def reference_recalls(image_scores, text_scores, image_indices):
    result = {}
    for cut in (1, 5, 10):
        hits = [
            any(
                image_indices[c] == i
                for c in sorted(range(len(image_indices)), key=lambda c: -image_scores[i][c])[:cut]
            )
            for i in range(len(image_scores))
        ]
        result[f"tr_r{cut}"] = sum(hits) / len(hits)
        hits = [
            image_indices[c]
            in sorted(range(len(image_scores)), key=lambda i: -text_scores[c][i])[:cut]
            for c in range(len(image_indices))
        ]
        result[f"ir_r{cut}"] = sum(hits) / len(hits)
    return result


def test_recalls_agree_with_sorting_for_any_number_of_captions():
    rng = np.random.default_rng(0)
    image_indices = np.repeat(np.arange(12), rng.integers(1, 8, size=12))
    image_scores, text_scores = (
        rng.normal(size=(12, len(image_indices))),
        rng.normal(size=(len(image_indices), 12)),
    )
    got = recalls(
        torch.tensor(image_scores), torch.tensor(text_scores), torch.tensor(image_indices)
    )
    assert got == pytest.approx(reference_recalls(image_scores, text_scores, image_indices))
    assert mean_recall(got) == pytest.approx(sum(got.values()) / 6)


def test_of_an_image_whose_captions_are_all_found_or_none_the_images_count():
    image_indices = torch.arange(10).repeat_interleave(5)
    found = image_indices[:, None] == torch.arange(10)
    text_scores = (found & (torch.arange(10) < 3)).float()
    text_scores[:, 0] += 0.5  # of all other captions the first image comes first
    first = first_ranks(text_scores.T, text_scores, image_indices)
    errors = recall_errors(first, image_indices)
    assert errors["ir_r1"] == pytest.approx((0.3 * 0.7 / 10) ** 0.5)
    assert errors["ir_r10"] == 0.0
    assert errors.keys() == recalls(text_scores.T, text_scores, image_indices).keys()


def test_of_equal_scores_the_first_comes_first_so_that_a_constant_model_gets_chance():
    scores = torch.zeros(3, 4)
    relevant = torch.eye(3, 4, dtype=torch.bool)
    assert ranks(scores, relevant).tolist() == [0, 1, 2]
    relevant[2] = torch.tensor([False, True, True, False])
    assert ranks(scores, relevant).tolist() == [0, 1, 1]
    constant = recalls(torch.zeros(20, 20), torch.zeros(20, 20), torch.arange(20))
    assert constant == pytest.approx(chance(20, torch.arange(20)))


def test_chance_is_what_random_scores_get():
    image_indices = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    generator = torch.Generator().manual_seed(0)
    runs = [
        recalls(
            torch.rand(12, 16, generator=generator),
            torch.rand(16, 12, generator=generator),
            image_indices,
        )
        for _ in range(2000)
    ]
    for name, value in chance(12, image_indices).items():
        assert sum(run[name] for run in runs) / 2000 == pytest.approx(value, abs=0.02)


def evaluation_data():
    rng = np.random.default_rng(0)
    image_indices = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4])
    ids = [
        np.concatenate([[0], rng.integers(5, 30, size=rng.integers(1, 7)), [2]])
        for _ in image_indices
    ]
    pixels = torch.from_numpy(rng.integers(0, 256, size=(5, 8, 8, 3), dtype=np.uint8))
    return EvaluationSet(
        [str(n) for n in range(5)], ["" for _ in image_indices], pixels, ids, image_indices
    )


def test_batched_scores_are_those_of_one_pair_at_a_time():
    net, data = model(), evaluation_data()
    scores = dual_scores(net, data, batch=3)
    for image in range(5):
        pixels = data.pixels[image : image + 1].permute(0, 3, 1, 2).float() / 127.5 - 1
        for caption, ids in enumerate(data.ids):
            ids = torch.from_numpy(ids)[None]
            mask = torch.ones_like(ids, dtype=torch.bool)
            cosine = (net.encode_image(pixels) * net.encode_text(ids, mask)).sum().item()
            assert scores[image, caption].item() == pytest.approx(cosine, abs=1e-5)
            logit = match_logits(
                net, data, torch.tensor([image]), torch.tensor([caption]), 4
            ).item()
            assert logit == pytest.approx(
                net.match_logits(pixels, ids, mask)[0, 1].item(), abs=1e-5
            )


@pytest.mark.parametrize("turned", [False, True])
def test_reranking_scores_the_best_k_anew_and_the_others_follow_in_their_order(turned):
    net, data = model(), evaluation_data()
    dual = dual_scores(net, data, batch=8)
    scores = dual.T if turned else dual
    final = rerank(net, data, dual, k=2, dual_weight=3.0, batch=3)[turned]
    for query in range(len(scores)):
        best = set(scores[query].topk(2).indices.tolist())
        for candidate in range(scores.shape[1]):
            image, caption = (candidate, query) if turned else (query, candidate)
            logit = match_logits(
                net, data, torch.tensor([image]), torch.tensor([caption]), 1
            ).item()
            if candidate in best:
                assert final[query, candidate].item() == pytest.approx(
                    logit + 3.0 * scores[query, candidate].item(), abs=1e-4
                )
        order, before = (rows[query].argsort(descending=True).tolist() for rows in (final, scores))
        assert set(order[:2]) == best and order[2:] == before[2:]


def test_each_image_and_caption_is_encoded_once_and_each_pair_fused_once_unpadded(monkeypatch):
    net, data = model(), evaluation_data()
    seen = {"image": 0, "text": 0, "pairs": 0}

    def counted(name, encode, mask_index):
        def call(*inputs):
            seen[name] += len(inputs[0])
            assert mask_index is None or inputs[mask_index] is None, (
                "a mask, though texts of one length need none"
            )
            return encode(*inputs)

        monkeypatch.setattr(net, encode.__name__, call)

    for name, encode, mask_index in (
        ("image", net.encode_image, None),
        ("text", net.encode_text, 1),
        ("pairs", net.match_logits, 2),
    ):
        counted(name, encode, mask_index)
    scores = dual_scores(net, data, batch=3)
    rerank(net, data, scores, k=2, dual_weight=3.0, batch=3)
    both = {
        (image, caption) for image in range(5) for caption in scores[image].topk(2).indices.tolist()
    }
    both |= {
        (image, caption)
        for caption in range(8)
        for image in scores[:, caption].topk(2).indices.tolist()
    }
    assert seen == {"image": 5, "text": 8, "pairs": len(both)} and len(both) < 5 * 2 + 8 * 2


def evaluated(net, out, monkeypatch, maps=unkept):
    """What evaluation says of a model, of `evaluation_data` in place of shards. Reranking turns the
    order."""
    monkeypatch.setattr(predict.TextTokenizer, "load_for", lambda *_: None)
    monkeypatch.setattr(predict, "evaluation_set", lambda *_: evaluation_data())
    params = EvaluateParams(
        "test", rerank_k=5, dual_weight=-30.0, batch=3, threads=1, precision="fp32"
    )
    inputs = InputParams(8, 10, None, None, None)
    return evaluate(net, Folders(out, out), inputs, params, out, maps)


def test_a_dual_encoder_alone_is_judged_by_its_cosines(monkeypatch, tmp_path):
    torch.manual_seed(0)
    net = Retrieval(RetrievalConfig(TINY, matching=False)).eval()
    result = evaluated(net, tmp_path, monkeypatch)
    scores = dual_scores(net, evaluation_data(), 3)
    expected = recalls(scores, scores.T, evaluation_data().image_indices)
    assert result["dual"] == expected and "reranked" not in result
    mean = (expected["tr_r1"] + expected["ir_r1"]) / 2
    first = {"tr_r1": expected["tr_r1"], "ir_r1": expected["ir_r1"], "score": mean}
    assert headline(result) == first and (tmp_path / "top5.png").stat().st_size > 1000


def test_a_model_with_matching_is_judged_by_what_it_reranked(monkeypatch, tmp_path):
    net, data = model(), evaluation_data()
    result = evaluated(net, tmp_path, monkeypatch)
    scores = dual_scores(net, data, 3)
    expected = recalls(*rerank(net, data, scores, 5, -30.0, 3), data.image_indices)
    assert result["reranked"] == expected != result["dual"]
    assert headline(result)["tr_r1"] == expected["tr_r1"]


def test_without_matching_itc_is_the_only_loss():
    net, (pairs, noise) = Retrieval(RetrievalConfig(TINY, matching=False)), batch()
    found = net(pairs, noise, lambda *features: (itc_loss(*features, lambda x: x, 0).loss, None))
    assert list(found) == ["itc"]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_an_image_and_a_text_are_their_class_token_or_the_mean_of_all_others(pooling):
    torch.manual_seed(0)
    net, (pairs, _) = Retrieval(RetrievalConfig(TINY, pooling=pooling)).eval(), batch()
    backbone = net.backbone
    image, text = backbone(pairs.pixels).image, backbone(text=pairs.ids).text
    if pooling == "cls":
        image, text = image[:, 0], text[:, 0]
    else:
        image, text = image[:, 1:].mean(dim=1), text[:, 1:].mean(dim=1)
    expected = F.normalize(net.image_projection(image), dim=-1)
    torch.testing.assert_close(net.encode_image(pairs.pixels), expected)
    expected = F.normalize(net.text_projection(text), dim=-1)
    torch.testing.assert_close(net.encode_text(pairs.ids, pairs.mask), expected)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_padding_does_not_change_a_text(pooling):
    torch.manual_seed(0)
    net = Retrieval(RetrievalConfig(TINY, pooling=pooling)).eval()
    ids, mask = torch.randint(5, 30, (3, 8)), torch.ones(3, 8, dtype=torch.bool)
    mask[:, 5:] = False
    torch.testing.assert_close(net.encode_text(ids, mask), net.encode_text(ids[:, :5], None))


def test_models_saved_without_pooling_read_class_tokens():
    tree = asdict(RetrievalConfig(TINY))
    del tree["pooling"]
    assert RetrievalConfig.from_dict(tree).pooling == "cls"


@pytest.mark.parametrize("itm", [0.0, 0.5])
def test_matching_is_trained_where_its_loss_weighs_anything(itm):
    weights = LossWeightParams(1.0, itm)
    params = SimpleNamespace(
        inputs=InputParams(8, 10, None, None, None),
        loss_weights=weights,
        drop_path=0.0,
        matching_every=2,
        negative_hardness=1.0,
        pooling="cls",
    )
    params.matching = FineTuneParams.matching.fget(params)
    params.inputs = replace(
        params.inputs, order=OrderParams(streams=2, shuffle_block=1, batch_size=4)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict.TextTokenizer, "load_for", lambda *_: None)
        task = Task(params, TINY, Folders(Path(), Path()))
    assert task.model.config.matching == (itm > 0)
    pairs = SimpleNamespace(ids=torch.zeros(4, 3))
    assert task.num_targets(pairs) == {"itc": 4.0, **({"itm": 6.0} if itm else {})}
    assert task.loss_weights.keys() == task.num_targets(pairs).keys()


def test_images_are_read_as_they_are_asked_for(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(7):
        image = encoded(Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)), "PNG")
        rows.append({"key": f"{number}", "image": image, "width": 12, "height": 9})
        rows[-1] |= {"captions": ["a dog"] * (number % 3), "label": -1}
    entries = parquet.write(
        tmp_path, "test", rows, schema.IMAGE_SHARD, rows_per_group=3, groups_per_file=2
    )
    parquet.write_index(tmp_path, {"test": entries})
    monkeypatch.setattr(images, "decode", counted := Mock(side_effect=images.decode))
    tokenizer = Mock(encode=lambda text, length: np.array([0, 9, 2]))
    data = evaluation_set(tmp_path, "test", tokenizer, 8, 10)
    assert data.image_indices.tolist() == [1, 2, 2, 4, 5, 5] and counted.call_count == 0
    parts = list(data.pixels.split(2))
    assert [len(part) for part in parts] == [2, 2, 2, 1] and counted.call_count == 7
    everything = data.all_pixels()
    assert torch.equal(torch.cat(parts), everything) and everything.dtype == torch.uint8
    for index in range(7):
        assert torch.equal(data.pixels[index], everything[index])


@pytest.mark.parametrize("matching", [False, True])
def test_an_interrupted_evaluation_goes_on(monkeypatch, tmp_path, matching):
    torch.manual_seed(0)
    net = Retrieval(RetrievalConfig(TINY, matching=matching)).eval()
    whole = evaluated(net, tmp_path, monkeypatch)
    figure = (tmp_path / "top5.png").read_bytes()
    (tmp_path / "kept").mkdir()
    parts = resumed(lambda maps: evaluated(net, tmp_path, monkeypatch, maps), tmp_path / "kept")
    assert parts == whole and (tmp_path / "top5.png").read_bytes() == figure


def test_bf16_is_of_the_network_alone(monkeypatch, tmp_path):
    """Cosines are products in fp32: in bf16 they would have eight bits."""
    net, data = model(), evaluation_data()
    exact = dual_scores(net, data, batch=3)
    with evaluation.precision_of("fp32", "cpu"):
        assert torch.equal(dual_scores(net, data, batch=3), exact)
    with evaluation.precision_of("bf16", "cpu"):
        near = dual_scores(net, data, batch=3)
    assert near.dtype == torch.float32 and not torch.equal(near, exact)
    torch.testing.assert_close(near, exact, atol=0.05, rtol=0)
    assert not torch.equal(near, near.bfloat16().float())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_fp32_is_no_tf32(precision):
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with evaluation.precision_of(precision, "cpu"):
        assert torch.is_autocast_enabled("cpu") == (precision == "bf16")
        assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
