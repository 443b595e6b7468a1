"""The tab that finds sentences of the test set by an image."""

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import Any

from pipeline.demo import examples, inputs, page
from pipeline.demo.answering import Request
from pipeline.demo.models import Models
from pipeline.demo.page import form_of, output
from pipeline.demo.retrieval import (
    DUAL,
    RERANKED,
    Candidate,
    Search,
    Searched,
    search_of,
)
from pipeline.tasks.retrieval.row_predictor import MODEL

TITLE = "Find sentences"


def respond(search: Search, request: Request) -> tuple[list[Any], str]:
    """The best captions by the dual encoder and after reranking."""
    (image,) = request.images
    inputs.image(image)
    assert image is not None, "checked"
    found, searched = search.captions(request.model, image), search.of_model(request.model)
    right = right_captions(searched, image)
    shown = [listed(searched, candidates, right) or None for candidates in found]
    return shown, search.sentence(request.model)


def right_captions(searched: Searched, image: bytes) -> set[int]:
    """The captions of this very image."""
    numbers = enumerate(searched.image_of)
    return {caption for caption, number in numbers if searched.images[number] == image}


def listed(searched: Searched, candidates: Sequence[Candidate], right: set[int]) -> str:
    """Captions with their scores as an HTML list, with a tick at those that are right."""
    items = []
    for candidate in candidates:
        caption = escape(searched.captions[candidate.number])
        items.append(f"<li><b>{candidate.label(right)}</b> {caption}</li>")
    return f'<ol class="ranking">{"".join(items)}</ol>' if items else ""


def build(models: Models, opening: Sequence[Callable[..., Any]]) -> None:
    """The tab."""
    import gradio as gr

    form = form_of(models, MODEL, examples.images, "retrieval", "dvc repro finetune@flickr30k")
    if form is None:
        return
    with gr.Row():
        with gr.Column(min_width=page.WIDTH):
            form.add_image("Image")
            form.add_button("Find sentences")
        rankings = [output(label, "HTML", padding=False) for label in (DUAL, RERANKED)]
    form.add_note()
    form.add_examples("Images of the test set")
    form.connect(opening, partial(respond, search_of(models)), rankings)
