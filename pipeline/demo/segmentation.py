"""The tab where each pixel of an image gets a class."""

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import Any

import numpy as np

from pipeline.data.transforms import images
from pipeline.demo import examples, inputs, page
from pipeline.demo.answering import Request
from pipeline.demo.models import Models
from pipeline.demo.page import form_of
from pipeline.inference.predictor import Predictor
from pipeline.tasks.segmentation import visualize
from pipeline.tasks.segmentation.row_predictor import MODEL

TITLE = "Segmentation"


def respond(models: Models, request: Request) -> tuple[list[Any], str]:
    """The image with its predicted classes, with the true ones where they are known, and a legend."""
    predictor = models.load(request.model)
    shown, predicted = segmented(predictor, request.images[0])
    names = predictor.classes
    drawn = inputs.shown(visualize.overlay(shown, predicted))
    if request.example is None or request.example.mask is None:
        return [drawn, None, legend(predicted, names)], "True classes are known of examples alone."
    truth = true_classes(request.example.mask, len(shown))
    share = (predicted == truth)[truth > 0].mean()
    drawn_truth = inputs.shown(visualize.overlay(shown, truth))
    sentence = f"{share:.0%} of the labeled pixels are right."
    return [drawn, drawn_truth, legend(predicted, names, truth)], sentence


def segmented(predictor: Predictor, image: bytes | None) -> tuple[np.ndarray, np.ndarray]:
    """An image as the model sees it, uint8 [size, size, 3], and the class of each pixel, from 1."""
    checked = inputs.image(image)
    size = predictor.model.config.backbone.image_size
    return images.square(checked, size), predictor.segment(checked).cpu().numpy()


def true_classes(mask: bytes, size: int) -> np.ndarray:
    """The classes of an example, [size, size], 0 for none."""
    classes = images.decode_mask(mask)
    rows, columns = (np.arange(size) * side // size for side in classes.shape)
    return classes[rows][:, columns]


def legend(predicted: np.ndarray, names: Sequence[str], truth: np.ndarray | None = None) -> str:
    """The colors of the classes that are predicted, the most frequent first, with their shares of the
    pixels, and of those that are only true, as HTML."""
    counts = np.bincount(predicted.ravel(), minlength=1)
    order = [number for number in np.argsort(-counts, kind="stable").tolist() if counts[number]]
    if truth is not None:
        order += sorted(set(np.unique(truth).tolist()) - {0, *order})
    lines = []
    for number in order:
        red, green, blue = (round(255 * value) for value in visualize.class_color(number))
        color = f"background: rgb({red}, {green}, {blue})"
        name = escape(visualize.class_name(names, number))
        share = np.mean(predicted == number)
        lines.append(f'<li><span style="{color}"></span>{name} <small>{share:.0%}</small></li>')
    return f'<ul class="legend">{"".join(lines)}</ul>'


def build(models: Models, opening: Sequence[Callable[..., Any]]) -> None:
    """The tab."""
    import gradio as gr

    form = form_of(models, MODEL, examples.masks, "segmentation", "finetune/ade20k")
    if form is None:
        return
    with gr.Row():
        with gr.Column():
            form.add_image("Image")
            form.add_button("Segment")
        drawn = [page.image(label) for label in ("Predicted classes", "True classes")]
        with gr.Column(min_width=120):
            classes = page.output("Predicted share of the pixels", "HTML", padding=False)
            form.add_note()
    form.add_examples("Images of the test set")
    form.connect(opening, partial(respond, models), [*drawn, classes])
