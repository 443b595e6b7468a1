"""What happens when something is handed in: examples fill a tab, answers come back, and a refusal is
a sentence in the answer's place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

from pipeline.demo import about, examples, inputs
from pipeline.demo.examples import Example
from pipeline.demo.models import Models
from pipeline.errors import UserError
from pipeline.utils import machine_errors


class Request(NamedTuple):
    """What a tab is asked."""

    model: str
    images: tuple[bytes | None, ...]
    text: str
    example: Example | None  # which all this is, where nothing of it was changed


# From a request, and the values of a tab's own controls, to the values of its outputs and a sentence
# about them.
Respond = Callable[..., tuple[Sequence[Any], str]]


def note(sentence: str, *, refused: bool = False) -> str:
    """A sentence as HTML."""
    return f'<p class="{"refused" if refused else "note"}">{escape(sentence)}</p>'


def refusal(error: Exception) -> str:
    """What a person is told of an error, as HTML. Errors of the program itself are raised again."""
    line = machine_errors.explain(error)
    if line is None:
        raise error
    return note(line, refused=True)


def described(models: Models, name: str) -> str:
    """What a model is, as HTML; less where the data are not here."""
    try:
        return note(about.sentence(models, name))
    except UserError as error:
        return note(f"{name}: scale {models.scale}; {error}")


@dataclass(frozen=True)
class Answering:
    """A tab's callbacks. `values` are those of its own controls.

    What they return: images and what shows them, the text and the example (`_use`); then the outputs
    and a sentence (`respond`).
    """

    models: Models
    read: examples.Reader
    num_images: int  # that it takes
    function: Respond
    num_outputs: int

    def open(self, opened: bool, name: str, *values: Any) -> Any:
        """Fill the tab, once."""
        import gradio as gr

        return gr.skip() if opened else self.fill(name, *values)

    def fill(self, name: str, *values: Any) -> list[Any]:
        """A model's examples, the first of them, and the answer to it."""
        found, problem = self._examples(name)
        thumbnails = [(_thumbnail(example), example.text) for example in found]
        start = [True, described(self.models, name), thumbnails]
        if found:
            return [*start, *self._use(found[0]), *self._answer(name, found[0], *values)]
        empty = [None] * (2 * self.num_images) + ["", None]
        return [*start, *empty, *self._nothing(problem)]

    def choose(self, index: int, name: str, *values: Any) -> list[Any]:
        """One of the examples, and the answer to it."""
        example = self._examples(name)[0][index]
        return [*self._use(example), *self._answer(name, example, *values)]

    def receive(self, number: int) -> Callable[..., list[Any]]:
        """The callback for an uploaded image of this number: itself, and the answer to it. What is
        refused takes no image's place."""

        def received(data: bytes, name: str, text: str, example: Any, *rest: Any) -> list[Any]:
            import gradio as gr

            try:
                view = inputs.shown(inputs.image(data))
            except UserError as error:
                return [gr.skip(), gr.skip(), *self._nothing(refusal(error))]
            images = list(rest[: self.num_images])
            images[number] = data
            values = rest[len(images) :]
            return [data, view, *self.respond(name, text, example, *images, *values)]

        return received

    def respond(self, name: str, text: str, example: Any, *rest: Any) -> list[Any]:
        """The answer to what is handed in: images, then the values of controls."""
        count = self.num_images
        images, values = rest[:count], rest[count:]
        unchanged = example is not None and (example.images, example.text) == (images, text)
        request = Request(name, images, text, example if unchanged else None)
        try:
            outputs, sentence = self.function(request, *values)
        except Exception as error:  # noqa: BLE001  `refusal` raises what is no refusal
            return self._nothing(refusal(error))
        return [*outputs, note(f"{sentence} {self._truncated(request)}".strip())]

    def _truncated(self, request: Request) -> str:
        """How much of a text that is longer than the model takes is read, in a sentence."""
        predictor = self.models.load(request.model)
        if predictor.tokenizer is None or not request.text:
            return ""
        longest = predictor.model.config.backbone.text_length - 2  # without those at both ends
        count = len(predictor.tokenizer.bare_ids([inputs.text(request.text, "text")])[0])
        return f"Of the text's {count} tokens {longest} are read." if count > longest else ""

    def _answer(self, name: str, example: Example, *values: Any) -> list[Any]:
        images = example.images[: self.num_images]
        return self.respond(name, example.text, example, *images, *values)

    def _examples(self, name: str) -> tuple[list[Example], str]:
        """Examples, or why there are none, as HTML."""
        try:
            return self.read(examples.split_of(self.models.scale, name)), ""
        except UserError as error:
            return [], refusal(error)

    def _use(self, example: Example) -> list[Any]:
        """An example in the inputs."""
        images = list(example.images)
        views = [inputs.shown(inputs.image(data)) for data in images]
        return [*images, *views, example.text, example]

    def _nothing(self, sentence: str) -> list[Any]:
        return [*[None] * self.num_outputs, sentence]


def _thumbnail(example: Example) -> Any:
    shown = example.images or (example.thumbnail,)
    return inputs.side_by_side([data for data in shown if data is not None])
