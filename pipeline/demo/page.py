"""What the tabs of the page share: the choice of a model, images and texts to hand in, examples that
fill them, and refusals as a sentence."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

from pipeline.demo import about, examples, inputs
from pipeline.demo.examples import Example
from pipeline.demo.models import Models
from pipeline.errors import UserError
from pipeline.utils import machine_errors

HEIGHT = 300  # pixels of an image
COLUMNS = 6  # of examples


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


def missing(models: Models, kind: str, command: str) -> str:
    """What a tab says without a model, as HTML."""
    return note(f"runs/{models.scale} has no model for {kind} yet: `{command}` makes it.")


def heading(title: str) -> None:
    """What stands above a part of a tab."""
    import gradio as gr

    gr.HTML(f"<h3>{escape(title)}</h3>", padding=False)


def view(label: str) -> Any:
    """A place for an image that is only looked at."""
    import gradio as gr

    heading(label)
    return gr.Image(
        show_label=False,
        alt_text=label,
        interactive=False,
        format="png",  # this Pillow may have no WebP
        height=HEIGHT,
        buttons=[],
    )


def gallery(label: str, columns: int, *, preview: bool) -> Any:
    """A place for several images. preview: a click shows one larger, else it chooses one."""
    import gradio as gr

    heading(label)
    return gr.Gallery(
        show_label=False,
        columns=columns,
        height="auto",
        object_fit="contain",
        allow_preview=preview,
        format="png",
        interactive=False,
        buttons=[],
    )


class Form:
    """A tab's model, its inputs and its examples.

    Args:
        names: of the models that can answer, at least one.
        read: examples of a split.
    """

    def __init__(self, models: Models, names: Sequence[str], read: examples.Reader):
        import gradio as gr

        self.models, self.read = models, read
        self.model = gr.Dropdown(list(names), value=names[0], label="Model", filterable=False)
        self.about = gr.HTML(padding=False)
        self.opened, self.example = gr.State(False), gr.State(None)
        self.states: list[Any] = []
        self.views: list[Any] = []
        self.uploads: list[Any] = []
        self.text = gr.State("")  # where the tab takes none

    def add_image(self, label: str) -> None:
        """An image, and the button that uploads another one."""
        import gradio as gr

        self.states.append(gr.State(None))
        self.views.append(view(label))
        upload = gr.UploadButton("Upload an image", type="binary", size="sm")
        self.uploads.append(upload)

    def add_text(self, label: str) -> None:
        """A text to type."""
        import gradio as gr

        heading(label)
        self.text = gr.Textbox(show_label=False, container=False, lines=1, max_lines=4)

    def add_button(self, label: str) -> None:
        """What sends all that is handed in."""
        import gradio as gr

        self.button = gr.Button(label, variant="primary")

    def add_note(self) -> None:
        """A sentence about the answer, or why there is none."""
        import gradio as gr

        self.note = gr.HTML(padding=False)

    def add_examples(self, label: str) -> None:
        """Examples to choose from."""
        self.examples = gallery(label, COLUMNS, preview=False)

    def connect(
        self,
        opening: Sequence[Callable[..., Any]],
        respond: Respond,
        outputs: Sequence[Any],
        controls: Sequence[Any] = (),
    ) -> None:
        """Answer whatever is handed in.

        Args:
            opening: the events that open the tab; the first of them fills it.
            outputs: components that show what `respond` returns.
            controls: components whose values `respond` gets.
        """
        import gradio as gr

        answering = _Answering(self, respond, len(outputs))
        own = [*self.states, *self.views, self.text, self.example]
        answered = [*outputs, self.note]
        filled = [self.opened, self.about, self.examples, *own, *answered]
        request = [self.model, self.text, self.example, *self.states]
        private = {"api_visibility": "private"}
        gr.on(opening, answering.open, [self.opened, self.model, *controls], filled, **private)
        self.model.input(answering.fill, [self.model, *controls], filled, **private)
        sent = [self.button.click, *(_changed(control) for control in controls)]
        if hasattr(self.text, "submit"):
            sent.append(self.text.submit)
        gr.on(sent, answering.respond, [*request, *controls], answered, **private)

        def choose(event: gr.SelectData, name: str, *values: Any) -> list[Any]:
            return answering.choose(event.index, name, *values)

        self.examples.select(choose, [self.model, *controls], [*own, *answered], **private)
        for number, upload in enumerate(self.uploads):
            shown = [self.states[number], self.views[number], *answered]
            received = answering.receive(number)
            upload.upload(received, [upload, *request, *controls], shown, **private)


class _Answering:
    """The callbacks of a form. `values` are those of its tab's controls."""

    def __init__(self, form: Form, respond: Respond, outputs: int):
        self.form, self.function, self.outputs = form, respond, outputs

    def open(self, opened: bool, name: str, *values: Any) -> Any:
        """Fill the tab, once."""
        import gradio as gr

        return gr.skip() if opened else self.fill(name, *values)

    def fill(self, name: str, *values: Any) -> list[Any]:
        """A model's examples, the first of them, and the answer to it."""
        found, problem = self._examples(name)
        thumbnails = [(_thumbnail(example), example.text) for example in found]
        start = [True, described(self.form.models, name), thumbnails]
        if found:
            return [*start, *self._use(found[0]), *self._answer(name, found[0], *values)]
        empty = [None] * (2 * len(self.form.states)) + ["", None]
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
                view = inputs.enlarged(inputs.image(data))
            except UserError as error:
                return [gr.skip(), gr.skip(), *self._nothing(refusal(error))]
            images = list(rest[: len(self.form.states)])
            images[number] = data
            values = rest[len(images) :]
            return [data, view, *self.respond(name, text, example, *images, *values)]

        return received

    def respond(self, name: str, text: str, example: Any, *rest: Any) -> list[Any]:
        """The answer to what is handed in: images, then the values of controls."""
        count = len(self.form.states)
        images, values = rest[:count], rest[count:]
        unchanged = example is not None and (example.images, example.text) == (images, text)
        request = Request(name, images, text, example if unchanged else None)
        try:
            outputs, sentence = self.function(request, *values)
        except Exception as error:  # noqa: BLE001  `refusal` raises what is no refusal
            return self._nothing(refusal(error))
        return [*outputs, note(sentence)]

    def _answer(self, name: str, example: Example, *values: Any) -> list[Any]:
        images = example.images[: len(self.form.states)]
        return self.respond(name, example.text, example, *images, *values)

    def _examples(self, name: str) -> tuple[list[Example], str]:
        """Examples, or why there are none, as HTML."""
        try:
            return self.form.read(examples.split_of(self.form.models.scale, name)), ""
        except UserError as error:
            return [], refusal(error)

    def _use(self, example: Example) -> list[Any]:
        """An example in the inputs."""
        images = list(example.images)
        views = [inputs.enlarged(inputs.image(data)) for data in images]
        return [*images, *views, example.text, example]

    def _nothing(self, sentence: str) -> list[Any]:
        return [*[None] * self.outputs, sentence]


def _thumbnail(example: Example) -> Any:
    shown = example.images or (example.thumbnail,)
    return inputs.side_by_side([data for data in shown if data is not None])


def _changed(control: Any) -> Callable[..., Any]:
    """The event of a control that people have set: of a slider, when they let it go."""
    return control.release if hasattr(control, "release") else control.input
