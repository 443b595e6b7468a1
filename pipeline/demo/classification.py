"""The tab where an image gets one of the classes of ImageNet-1k, or of ImageNet-22k."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from model.timm_import import import_timm
from pipeline.config import params
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.writers import imagenet1k, imagenet22k
from pipeline.demo import examples, inputs
from pipeline.demo.answering import Request
from pipeline.demo.models import Models
from pipeline.demo.page import form_of, output
from pipeline.errors import UserError
from pipeline.tasks.classification.row_predictor import MODEL

TITLE = "Class"
BEST = 5  # classes


def respond(models: Models, request: Request) -> tuple[list[Any], str]:
    """The most probable classes, and the test set's one."""
    predictor = models.load(request.model)
    (image,) = request.images
    ranked = predictor.classify(inputs.image(image), BEST)
    meaning = meanings(models, request.model)
    best = {described(name, meaning): probability for name, probability in ranked}
    if request.example is None or request.example.label is None:
        return [best], ""
    label = request.example.label
    truth = predictor.classes[label] if predictor.classes else str(label)
    return [best], f"In the test set it is: {described(truth, meaning)}."


def described(name: str, meaning: Mapping[str, str]) -> str:
    """A class for people: its synset id stands behind what it means, where that is known."""
    return f"{meaning[name]} ({name})" if name in meaning else name


def meanings(models: Models, name: str) -> Mapping[str, str]:
    """What the classes of a model mean, by their synset ids; nothing where nobody knows its data."""
    try:
        return _of_data(examples.split_of(models.scale, name).data)
    except UserError:
        return {}


@cache
def _of_data(data: str) -> dict[str, str]:
    """Of a data set: WordNet's words, or the looks of generated things."""
    own = params.read()
    if own.block("download.common", f"download.{data}")["origin"] == "synthetic":
        world = own.load(SyntheticParams, "synthetic").world
        looks = imagenet22k.classes(world) | imagenet1k.classes(world)
        return {wnid: f"{look} {shape}" for wnid, (shape, look) in looks.items()}
    import_timm()
    from timm.data import ImageNetInfo

    wordnet = ImageNetInfo("imagenet-22k")
    return {wnid: wordnet.label_name_to_description(wnid) for wnid in wordnet.label_names()}


def build(models: Models, opening: Sequence[Callable[..., Any]]) -> None:
    """The tab."""
    import gradio as gr

    form = form_of(models, MODEL, examples.labeled, "classes", "finetune/imagenet1k")
    if form is None:
        return
    with gr.Row():
        with gr.Column():
            form.add_image("Image")
            form.add_button("Classify")
        with gr.Column():
            best = output("The most probable classes", "Label")
            form.add_note()
    form.add_examples("Images of the test set")
    form.connect(opening, partial(respond, models), [best])
