"""What the tabs compute, without Gradio."""

import shutil
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Semaphore

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import params
from pipeline.demo import (
    about,
    caption_search,
    classification,
    examples,
    image_search,
    masked,
    questions,
    segmentation,
    statements,
    vectors,
)
from pipeline.demo.answering import Answering, Request, note
from pipeline.demo.models import Models
from pipeline.demo.retrieval import SHOWN, Search
from pipeline.demo.vectors import Encoder
from pipeline.errors import UserError
from pipeline.tasks import Folders, evaluations
from pipeline.tasks.kept_results import KeptResults
from pipeline.tasks.retrieval.predict import rerank
from pipeline.tasks.retrieval.training.data import evaluation_set
from pipeline.tasks.retrieval.training.metrics import dual_scores
from tests.helpers import demo_project
from tests.helpers.exported import ANSWERS
from tests.helpers.processes import until

WORDS = demo_project.WORDS


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    demo_project.write(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield Models("small")


def first(models, model, read):
    """The first example of a model, and the request that it makes."""
    example = read(examples.split_of("small", model))[0]
    return example, Request(model, example.images, example.text, example)


def test_models_are_found_by_their_class(models):
    assert models.of_class("VQA") == ["finetune/vqa"]
    assert models.of_class("Retrieval") == [
        "finetune/coco",
        "finetune/flickr30k",
        "finetune/flickr30k-coco",
    ]
    assert models.of_class("MaskedModeling") == ["pretrain/main"]
    assert models.load("finetune/vqa") is models.load("finetune/vqa")


def test_an_exported_model_serves_where_the_trained_one_is_gone(models):
    trained = Path("runs/small/finetune/vqa")
    shutil.move(trained, "elsewhere")
    try:
        assert Models("small").folders["finetune/vqa"] == Path("exports/small/vqa")
    finally:
        shutil.move("elsewhere", trained)


def test_a_model_says_its_scale_and_data(models):
    sentence = about.sentence(models, "finetune/vqa")
    assert sentence.startswith("finetune/vqa: scale small, images of 16 × 16 pixels")
    assert "then finetune/vqa on vqav2" in sentence and about.GENERATED in sentence


def test_a_question_gets_answers_with_probabilities(models):
    _, request = first(models, "finetune/vqa", examples.questions)
    (best,), sentence = questions.respond(models, request)
    direct = models.load("finetune/vqa").answers(request.images[0], request.text, 5)
    assert best == dict(direct) and set(best) == set(ANSWERS)
    assert sentence == "The annotators' answer: star."
    assert questions.respond(models, request._replace(example=None))[1] == ""


def test_a_statement_is_true_or_false(models):
    _, request = first(models, "finetune/nlvr2", examples.statements)
    (verdict,), sentence = statements.respond(models, request)
    assert sum(verdict.values()) == pytest.approx(1) and sentence == "In the test set it is false."
    with pytest.raises(UserError, match="image: there is none"):
        statements.respond(models, request._replace(images=(request.images[0], None)))


def test_searches_rank_as_the_evaluation_does(models):
    """The best candidates of every query, before and after reranking."""
    name = "finetune/flickr30k"
    model, split = models.load(name), examples.split_of("small", name)
    folders = Folders.of("small", "flickr30k", models.folders[name])
    config = model.model.config.backbone
    data = evaluation_set(
        folders.shards, "test", model.tokenizer, config.image_size, config.text_length
    )
    scores = dual_scores(model.model, data, 4)
    settings = split.params
    by_image, by_text = rerank(
        model.model, data, scores, settings.rerank_k, settings.dual_weight, 4
    )
    search = Search(models)
    searched = search.of_model(name)
    for number, text in enumerate(data.captions):
        _same_order(searched.images(text), scores.T[number], by_text[number])
    for number in range(demo_project.ROWS):
        found = searched.captions(searched.image(number))
        _same_order(found, scores[number], by_image[number])


def _same_order(rankings, dual_scores_of_query, reranked_scores):
    """Scores fall as they do in the evaluation; candidates with equal ones may change places."""
    for found, scores in zip(rankings, (dual_scores_of_query, reranked_scores), strict=True):
        chosen = scores[[candidate.number for candidate in found]]
        torch.testing.assert_close(
            chosen, scores.sort(descending=True).values[:SHOWN], atol=1e-5, rtol=0
        )


def test_what_is_right_has_a_tick(models):
    search, name = Search(models), "finetune/flickr30k"
    (dual, reranked), sentence = image_search.respond(
        search, Request(name, (), demo_project.caption(3), None)
    )
    assert (
        len(dual) == len(reranked) == SHOWN and "8 images" in sentence and "16 captions" in sentence
    )
    assert image_search.right_images(search.of_model(name), demo_project.caption(3)) == {3}
    image = demo_project.image(2)
    (first_list, second_list), _ = caption_search.respond(search, Request(name, (image,), "", None))
    assert first_list.count("<li>") == second_list.count("<li>") == SHOWN
    assert caption_search.right_captions(search.of_model(name), image) == {4, 5}


def test_a_dual_encoder_alone_says_that_nothing_is_reranked(models, monkeypatch):
    name = "finetune/flickr30k"
    model = models.load(name).model
    with monkeypatch.context() as patch:
        patch.setattr(model, "config", replace(model.config, matching=False))
        (dual, reranked), sentence = image_search.respond(
            Search(models), Request(name, (), WORDS[0], None)
        )
    assert len(dual) == SHOWN and reranked is None and "reranks nothing" in sentence


def test_what_has_vectors_is_searched_while_the_others_are_computed(models, monkeypatch):
    name, allowed, encode = "finetune/flickr30k", Semaphore(0), Encoder._encode

    def encode_when_allowed(self, rows):
        allowed.acquire()
        return encode(self, rows)

    monkeypatch.setattr(Encoder, "_encode", encode_when_allowed)
    monkeypatch.setattr(vectors, "BATCH", 1)
    monkeypatch.setattr(vectors, "PATIENCE", 0)
    search = Search(models)
    allowed.release(3)
    until(lambda: len(search.of_model(name).encoded.digests) == 3)
    some = search.of_model(name)
    assert {candidate.number for candidate in some.images(WORDS[0]).dual} == {0, 1, 2}
    assert some.sentence().startswith(
        "Searched: so far 3 images of the test set and their 6 captions; ✓ is right. "
        "The vectors of all 8 images are being computed: ask again later."
    )
    assert some.image(7) == demo_project.image(7)
    allowed.release(5)
    until(lambda: len(search.of_model(name).encoded.digests) == 8)
    assert "so far" not in search.of_model(name).sentence()


def test_vectors_that_took_long_are_kept_for_the_next_start(models, monkeypatch):
    name = "finetune/flickr30k"
    monkeypatch.setattr(vectors, "KeptResults", partial(KeptResults, every=0))
    first = Search(models).of_model(name).encoded
    (kept,) = Path(".work").glob("search-*")

    def compute(*arguments):
        raise AssertionError("computed again")

    monkeypatch.setattr(Encoder, "_encode", compute)
    again = Search(models).of_model(name).encoded
    shutil.rmtree(kept)
    assert again.captions == first.captions
    assert torch.equal(again.image_features, first.image_features)
    assert torch.equal(again.text_features, first.text_features)


def test_what_stops_the_vectors_is_raised_where_somebody_searches(models, monkeypatch):
    def refuse(*arguments):
        raise UserError("a damaged shard")

    monkeypatch.setattr(Encoder, "_encode", refuse)
    with pytest.raises(UserError, match="a damaged shard"):
        Search(models).of_model("finetune/flickr30k")


@pytest.mark.parametrize("data", ["imagenet1k", "imagenet22k"])
def test_an_image_gets_classes_with_probabilities(models, data):
    name = f"finetune/{data}"
    _, request = first(models, name, examples.labeled)
    (best,), sentence = classification.respond(models, request)
    ranked = models.load(name).classify(request.images[0], 5)
    assert list(best.values()) == [probability for _, probability in ranked]
    assert [
        f"({wnid})" in shown or wnid == shown for shown, (wnid, _) in zip(best, ranked, strict=True)
    ]
    assert sentence == "In the test set it is: n00000003."
    assert classification.respond(models, request._replace(example=None))[1] == ""


@pytest.mark.parametrize(
    ("origin", "wnid", "shown"),
    [
        ("synthetic", "n01400009", "red circle (n01400009)"),
        ("upstream", "n01440764", "tench, Tinca tinca (n01440764)"),
        ("upstream", "cats", "cats"),
    ],
)
def test_synset_ids_are_shown_with_what_they_mean(models, monkeypatch, origin, wnid, shown):
    own = params.read()
    monkeypatch.setitem(own.tree["download"]["imagenet1k"], "origin", origin)
    monkeypatch.setattr(params, "read", lambda: own)
    classification._of_data.cache_clear()
    meanings = classification.meanings(models, "finetune/imagenet1k")
    classification._of_data.cache_clear()
    assert classification.described(wnid, meanings) == shown
    assert classification.meanings(models, "finetune/none") == {}


def test_pixels_get_classes_with_a_legend(models):
    _, request = first(models, "finetune/ade20k", examples.masks)
    (drawn, truth, legend), sentence = segmentation.respond(models, request)
    assert drawn.size == truth.size == (320, 320) and sentence.endswith("labeled pixels are right.")
    predicted = models.load("finetune/ade20k").segment(request.images[0])
    names = evaluations.load("ade20k").load_params(params.read()).class_names
    assert {names[number - 1] for number in predicted.unique().tolist()} <= set(
        legend.replace("</span>", ">").replace(" <small>", ">").split(">")
    )
    (_, truth, _), sentence = segmentation.respond(models, request._replace(example=None))
    assert truth is None and "examples alone" in sentence


def test_masks_of_another_size_fit_the_prediction():
    mask = np.zeros((4, 8), dtype=np.uint8)
    mask[:, 4:] = 2
    data = demo_project.encoded(Image.fromarray(mask), "PNG")
    classes = segmentation.true_classes(data, 16)
    assert classes.shape == (16, 16) and (classes[:, 8:] == 2).all() and not classes[:, :8].any()


@pytest.fixture(scope="module")
def codebook(models):
    return masked.Codebooks(models).of_model


def fill(models, codebook, patches, words, reads, draw=1):
    _, request = first(models, "pretrain/main", examples.captioned)
    return masked.respond(models, codebook, request, patches, words, reads, draw)


def test_masked_patches_and_words_are_filled_in(models, codebook):
    outputs, sentence = fill(models, codebook, 0.5, 0.5, "image and text")
    images, texts = outputs[:3], outputs[3:]
    assert all(image.size == (320, 320) for image in images)
    original, hidden, predicted = texts
    marked = [label for _, label in original if label]
    assert "of 8 masked patches" in sentence and f"of {len(marked)} masked text tokens" in sentence
    assert {text for text, label in hidden if label} == {" [MASK]"}
    assert {label for _, label in predicted} <= {None, "right", "wrong"}
    assert "".join(text for text, _ in original).strip() == demo_project.caption(0)
    other, _ = fill(models, codebook, 0.5, 0.5, "image and text", draw=2)
    assert other[3] != original


def test_either_half_may_be_left_out(models, codebook):
    outputs, sentence = fill(models, codebook, 0.5, 0.5, "image alone")
    assert outputs[3:] == [None] * 3 and "text tokens" not in sentence
    outputs, sentence = fill(models, codebook, 0.5, 0.5, "text alone")
    assert outputs[:3] == [None] * 3 and "patches" not in sentence
    both, _ = fill(models, codebook, 0.5, 0.5, "image and text")
    assert outputs[4] == both[4]  # the same words are masked


def test_nothing_masked_changes_nothing(models, codebook):
    outputs, sentence = fill(models, codebook, 0.0, 0.0, "image and text")
    assert sentence.startswith("0 of 0 masked text tokens")
    assert len({image.tobytes() for image in outputs[:3]}) == 1


def test_predictions_are_those_of_the_model(models, codebook):
    """With and without the other half, as pretraining's validation predicts them."""
    example, _ = first(models, "pretrain/main", examples.captioned)
    model = models.load("pretrain/main")
    shown = Image.open(BytesIO(example.images[0]))
    filling = masked.mask(model, example.text, 0.5, 0.5, 1, 1)
    words, tokens = masked.predict(model, shown, example.text, filling)
    alone, none = masked.predict(model, None, example.text, filling)
    assert len(words) == len(alone) == filling.masked_tokens.sum() and len(none) == 0
    assert len(tokens) == filling.masked_patches.sum() == 8


def callbacks(models, respond, read=examples.questions):
    return Answering(models, read, 1, respond, 1)


def test_an_example_is_known_until_it_is_changed(models):
    """Through the callbacks, which need no Gradio either."""
    asked = []

    def respond(request):
        asked.append(request)
        return [1], "fine"

    answering = callbacks(models, respond)
    *_, answer, sentence = answering.fill("finetune/vqa")
    assert answer == 1 and sentence.startswith('<p class="note">fine')
    example = asked[-1].example
    assert example is not None and example.text == WORDS[0]
    answering.choose(3, "finetune/vqa")
    assert asked[-1].example.images == (demo_project.image(3),)
    answering.respond("finetune/vqa", "Another?", example, *example.images)
    assert asked[-1].example is None


def test_a_refusal_is_a_sentence_in_place_of_an_answer(models):
    answering = callbacks(models, lambda request: questions.respond(models, request))
    assert answering.respond("finetune/vqa", "x " * 1000, None, demo_project.image(0)) == [
        None,
        '<p class="refused">question: 1,999 characters, at most 1,000 are read</p>',
    ]
    assert answering.respond("finetune/vqa", "<b>", None, b"<b>")[1].endswith("not an image</p>")


def test_what_is_read_of_a_long_text_is_said(models):
    answering = callbacks(models, lambda request: ([1], "fine"))
    ask = answering.respond
    long, short = (ask("finetune/vqa", text, None, None)[1] for text in ("moon " * 30, "a"))
    assert short == note("fine") and "tokens 10 are read." in long


def test_an_error_of_the_program_is_no_refusal(models):
    def broken(request):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        callbacks(models, broken).respond("finetune/vqa", "x", None, b"")


def test_a_model_without_data_has_no_examples(models):
    def none(split):
        raise UserError(f"{split.shards}: not found")

    answering = callbacks(models, lambda request: questions.respond(models, request), none)
    *_, answer, sentence = answering.fill("finetune/vqa")
    assert answer is None and "not found" in sentence
