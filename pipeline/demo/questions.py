"""The tab where a question is asked about an image."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pipeline.demo import examples, inputs
from pipeline.demo.answering import Request
from pipeline.demo.models import Models
from pipeline.demo.page import form_of, output
from pipeline.inference.predictor import Predictor
from pipeline.tasks.vqa.row_predictor import MODEL

TITLE = "Question"
BEST = 5  # answers


def respond(models: Models, request: Request) -> tuple[list[Any], str]:
    """The best answers with their probabilities, and what the annotators say."""
    predictor = models.load(request.model)
    (image,) = request.images
    best = answers(predictor, image, request.text)
    return [best], request.example.truth if request.example else ""


def answers(predictor: Predictor, image: bytes | None, question: str) -> dict[str, float]:
    """The best answers to a question, with their probabilities in 0..1."""
    asked = inputs.text(question, "question")
    return dict(predictor.answers(inputs.image(image), asked, BEST))


def build(models: Models, opening: Sequence[Callable[..., Any]]) -> None:
    """The tab."""
    import gradio as gr

    form = form_of(models, MODEL, examples.questions, "questions", "finetune/vqa")
    if form is None:
        return
    with gr.Row():
        with gr.Column():
            form.add_image("Image")
        with gr.Column():
            form.add_text("Question")
            form.add_button("Ask")
            best = output("Answers, each with a probability of its own", "Label")
            form.add_note()
    form.add_examples("Questions of the test set")
    form.connect(opening, partial(respond, models), [best])
