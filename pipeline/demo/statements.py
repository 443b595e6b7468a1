"""The tab where a statement about two images is true or false."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pipeline.demo import examples, inputs, page
from pipeline.demo.answering import Request
from pipeline.demo.models import Models
from pipeline.demo.page import form_of, output
from pipeline.inference.predictor import Predictor
from pipeline.tasks.nlvr2.row_predictor import MODEL

TITLE = "Statement"


def respond(models: Models, request: Request) -> tuple[list[Any], str]:
    """Whether the statement is true, and what the test set says."""
    predictor = models.load(request.model)
    left, right = request.images
    verdict = truth(predictor, left, right, request.text)
    return [verdict], request.example.truth if request.example else ""


def truth(
    predictor: Predictor, left: bytes | None, right: bytes | None, statement: str
) -> dict[str, float]:
    """The probabilities that a statement is true and that it is false."""
    stated = inputs.text(statement, "statement")
    probability = predictor.truth(inputs.image(left), inputs.image(right), stated)
    return {"true": probability, "false": 1 - probability}


def build(models: Models, opening: Sequence[Callable[..., Any]]) -> None:
    """The tab."""
    import gradio as gr

    form = form_of(models, MODEL, examples.statements, "statements", "finetune/nlvr2")
    if form is None:
        return
    with gr.Row():
        for side in ("Left image", "Right image"):
            with gr.Column(min_width=page.WIDTH):
                form.add_image(side)
        with gr.Column(min_width=page.WIDTH):
            form.add_text("Statement")
            form.add_button("Is it true?")
            verdict = output("The statement is", "Label")
            form.add_note()
    form.add_examples("Statements of the test set")
    form.connect(opening, partial(respond, models), [verdict])
