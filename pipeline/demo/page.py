"""What the tabs of the page look like: the choice of a model, images and texts to hand in, and
examples that fill them."""

from collections.abc import Callable, Sequence
from functools import wraps
from html import escape
from typing import Any, NamedTuple

from pipeline.demo import examples
from pipeline.demo.answering import Answering, Respond, note
from pipeline.demo.models import Models

HEIGHT = 300  # pixels of an image
COLUMNS = 6  # of examples
WIDTH = 200  # pixels, at least, of an image's column


def heading(title: str) -> None:
    """What stands above a part of a tab."""
    import gradio as gr

    gr.HTML(f"<h3>{escape(title)}</h3>", padding=False)


class Output(NamedTuple):
    """Where a part of an answer is shown, and the column that is not there while it has none."""

    component: Any
    column: Any


def image(label: str) -> Output:
    """An image of an answer."""
    import gradio as gr

    with gr.Column(min_width=WIDTH) as column:
        return Output(_view(label), column)


def images(label: str, columns: int) -> Output:
    """Several images of an answer, with captions."""
    import gradio as gr

    with gr.Column(min_width=WIDTH, elem_classes="half") as column:
        return Output(_gallery(label, columns, preview=True), column)


def output(label: str, component: str, **options: Any) -> Output:
    """Another component of Gradio's, by its name."""
    import gradio as gr

    with gr.Column(min_width=WIDTH) as column:
        heading(label)
        return Output(getattr(gr, component)(show_label=False, **options), column)


def _view(label: str) -> Any:
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


def _gallery(label: str, columns: int, *, preview: bool) -> Any:
    """preview: a click shows an image larger, else it chooses one."""
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
        first: the one of them that the tab begins with.
        read: examples of a split.
    """

    def __init__(self, models: Models, names: Sequence[str], first: str, read: examples.Reader):
        import gradio as gr

        self.models, self.names, self.read = models, names, read
        self.model = gr.Dropdown(list(names), value=first, label="Model", filterable=False)
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
        self.views.append(_view(label))
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
        self.examples = _gallery(label, COLUMNS, preview=False)

    def connect(
        self,
        opening: Sequence[Callable[..., Any]],
        respond: Respond,
        outputs: Sequence[Output],
        controls: Sequence[Any] = (),
    ) -> None:
        """Answer whatever is handed in.

        Args:
            opening: the events that open the tab; the first of them fills it.
            outputs: what shows the answer of `respond`.
            controls: components whose values `respond` gets, too.
        """
        import gradio as gr

        count = len(outputs)
        answering = Answering(self.models, self.read, len(self.states), respond, count)
        own = [*self.states, *self.views, self.text, self.example]
        components, columns = zip(*outputs, strict=True)
        answered = [*components, *columns, self.note]
        filled = [self.opened, self.about, self.examples, *own, *answered]
        request = [self.model, self.text, self.example, *self.states, *controls]
        private = {"api_visibility": "private"}
        chosen = [self.model, *controls]
        gr.on(opening, _shown(answering.open, count), [self.opened, *chosen], filled, **private)
        self.model.input(_shown(answering.fill, count), chosen, filled, **private)
        sent = [self.button.click, *(control.input for control in controls)]
        if hasattr(self.text, "submit"):
            sent.append(self.text.submit)
        latest = {"trigger_mode": "always_last"}  # while a slider moves
        gr.on(sent, _shown(answering.respond, count), request, answered, **private, **latest)
        choose = _shown(answering.choose, count)

        def choose_example(event: gr.SelectData, *values: Any) -> Any:
            return choose(event.index, *values)

        self.examples.select(choose_example, chosen, [*own, *answered], **private)
        for number, upload in enumerate(self.uploads):
            shown = [self.states[number], self.views[number], *answered]
            received = _shown(answering.receive(number), count)
            upload.upload(received, [upload, *request], shown, **private)


def form_of(
    models: Models, model_class: str, read: examples.Reader, kind: str, usual: str
) -> Form | None:
    """A tab's form, which begins with the model `usual` where that is here. None where no model can
    answer, and then the tab says what makes that one, for this `kind` of task."""
    import gradio as gr

    if names := models.of_class(model_class):
        return Form(models, names, usual if usual in names else names[0], read)
    command = f"dvc repro {usual.replace('/', '@')}"
    gr.HTML(note(f"runs/{models.scale} has no model for {kind} yet: `{command}` makes it."))
    return None


def _shown(callback: Callable[..., Any], count: int) -> Callable[..., Any]:
    """A callback of `Answering` whose last values are `count` outputs and a sentence, for a page
    where an output's column goes while there is nothing in it."""
    import gradio as gr

    @wraps(callback)
    def with_columns(*arguments: Any) -> Any:
        values = callback(*arguments)
        if not isinstance(values, list):  # nothing changes
            return values
        *before, sentence = values
        columns = [gr.update(visible=value is not None) for value in before[-count:]]
        return [*before, *columns, sentence]

    return with_columns
