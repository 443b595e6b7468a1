"""The tab that finds images of the test set by a sentence."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from PIL import Image

from pipeline.demo import examples, inputs
from pipeline.demo.answering import Request
from pipeline.demo.models import Models
from pipeline.demo.page import form_of, images
from pipeline.demo.retrieval import (
    DUAL,
    RERANKED,
    SHOWN,
    Candidate,
    Search,
    Searched,
    search_of,
)
from pipeline.tasks.retrieval.row_predictor import MODEL

TITLE = "Find images"


def respond(search: Search, request: Request) -> tuple[list[Any], str]:
    """The best images by the dual encoder and after reranking, each with its caption."""
    sentence = inputs.text(request.text, "sentence")
    found, searched = search.images(request.model, sentence), search.of_model(request.model)
    right = right_images(searched, sentence)
    shown = [cells(searched, candidates, right) or None for candidates in found]
    return shown, search.sentence(request.model)


def right_images(searched: Searched, sentence: str) -> set[int]:
    """The images that have this very caption."""
    pairs = zip(searched.captions, searched.image_of, strict=True)
    return {image for caption, image in pairs if caption == sentence}


def cells(
    searched: Searched, candidates: Sequence[Candidate], right: set[int]
) -> list[tuple[Image.Image, str]]:
    """Images with their scores, and a tick at those that are right."""
    drawn = []
    for candidate in candidates:
        image = inputs.shown(inputs.image(searched.images[candidate.number]))
        drawn.append((image, candidate.label(right)))
    return drawn


def build(models: Models, opening: Sequence[Callable[..., Any]]) -> None:
    """The tab."""
    import gradio as gr

    form = form_of(models, MODEL, examples.sentences, "retrieval", "dvc repro finetune@flickr30k")
    if form is None:
        return
    form.add_text("Sentence")
    form.add_button("Find images")
    with gr.Row():
        rankings = [images(label, SHOWN // 2) for label in (DUAL, RERANKED)]
    form.add_note()
    form.add_examples("Captions of the test set, and the images that they are of")
    form.connect(opening, partial(respond, search_of(models)), rankings)
