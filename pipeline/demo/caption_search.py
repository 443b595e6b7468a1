"""The tab that finds sentences of the test set by an image."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import Any

from pipeline.demo import examples, inputs, page
from pipeline.demo.answering import Request
from pipeline.demo.models import Models
from pipeline.demo.page import output
from pipeline.demo.retrieval import (
    DUAL,
    RERANKED,
    Candidate,
    Search,
    Searched,
    answer,
    form,
    search_of,
)

TITLE = "Find sentences"


def respond(search: Search, request: Request) -> tuple[list[Any], str]:
    """The best captions by the dual encoder and after reranking."""
    (image,) = request.images
    inputs.image(image)
    assert image is not None, "checked"
    searched = search.of_model(request.model)
    right = right_captions(searched, image)
    return answer(searched, searched.captions(image), lambda found: listed(searched, found, right))


def right_captions(searched: Searched, image: bytes) -> set[int]:
    """The captions of this very image."""
    digest, encoded = hashlib.sha256(image).digest(), searched.encoded
    numbers = enumerate(encoded.image_of)
    return {caption for caption, number in numbers if encoded.digests[number] == digest}


def listed(searched: Searched, candidates: Sequence[Candidate], right: set[int]) -> str:
    """Captions with their scores as an HTML list, with a tick at those that are right."""
    items = []
    for candidate in candidates:
        caption = escape(searched.encoded.captions[candidate.number])
        items.append(f"<li><b>{candidate.label(right)}</b> {caption}</li>")
    return f'<ol class="ranking">{"".join(items)}</ol>' if items else ""


def build(models: Models, opening: Sequence[Callable[..., Any]]) -> None:
    """The tab."""
    import gradio as gr

    tab = form(models, examples.images)
    if tab is None:
        return
    with gr.Row():
        with gr.Column(min_width=page.WIDTH):
            tab.add_image("Image")
            tab.add_button("Find sentences")
        rankings = [output(label, "HTML", padding=False) for label in (DUAL, RERANKED)]
    tab.add_note()
    tab.add_examples("Images of the test set")
    tab.connect(opening, partial(respond, search_of(models)), rankings)
