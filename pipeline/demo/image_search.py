"""The tab that finds images of the test set by a sentence."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from PIL import Image

from pipeline.demo import examples, inputs
from pipeline.demo.answering import Request
from pipeline.demo.models import Models
from pipeline.demo.page import images
from pipeline.demo.retrieval import (
    DUAL,
    RERANKED,
    SHOWN,
    Candidate,
    Search,
    Searched,
    answer,
    form,
    search_of,
)

TITLE = "Find images"


def respond(search: Search, request: Request) -> tuple[list[Any], str]:
    """The best images by the dual encoder and after reranking, each with its score."""
    sentence = inputs.text(request.text, "sentence")
    searched = search.of_model(request.model)
    right = right_images(searched, sentence)
    return answer(searched, searched.images(sentence), lambda found: cells(searched, found, right))


def right_images(searched: Searched, sentence: str) -> set[int]:
    """The images that have this very caption."""
    pairs = zip(searched.encoded.captions, searched.encoded.image_of, strict=True)
    return {image for caption, image in pairs if caption == sentence}


def cells(
    searched: Searched, candidates: Sequence[Candidate], right: set[int]
) -> list[tuple[Image.Image, str]]:
    """Images with their scores, and a tick at those that are right."""
    drawn = []
    for candidate in candidates:
        image = inputs.shown(inputs.image(searched.image(candidate.number)))
        drawn.append((image, candidate.label(right)))
    return drawn


def build(models: Models, opening: Sequence[Callable[..., Any]]) -> None:
    """The tab."""
    import gradio as gr

    tab = form(models, examples.sentences)
    if tab is None:
        return
    tab.add_text("Sentence")
    tab.add_button("Find images")
    with gr.Row():
        rankings = [images(label, SHOWN // 2) for label in (DUAL, RERANKED)]
    tab.add_note()
    tab.add_examples("Captions of the test set, and the images that they are of")
    tab.connect(opening, partial(respond, search_of(models)), rankings)
