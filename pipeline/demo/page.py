"""What the tabs of the page look like: the choice of a model, images and texts to hand in, and
examples that fill them."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from pipeline.demo import examples
from pipeline.demo.answering import Answering, Respond, note
from pipeline.demo.models import Models

HEIGHT = 300  # pixels of an image
COLUMNS = 6  # of examples


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

        count = len(self.states)
        answering = Answering(self.models, self.read, count, respond, len(outputs))
        own = [*self.states, *self.views, self.text, self.example]
        answered = [*outputs, self.note]
        filled = [self.opened, self.about, self.examples, *own, *answered]
        request = [self.model, self.text, self.example, *self.states]
        private = {"api_visibility": "private"}
        gr.on(opening, answering.open, [self.opened, self.model, *controls], filled, **private)
        self.model.input(answering.fill, [self.model, *controls], filled, **private)
        sent = [self.button.click, *(control.input for control in controls)]
        if hasattr(self.text, "submit"):
            sent.append(self.text.submit)
        latest = {"trigger_mode": "always_last"}  # while a slider moves
        gr.on(sent, answering.respond, [*request, *controls], answered, **private, **latest)

        def choose(event: gr.SelectData, name: str, *values: Any) -> list[Any]:
            return answering.choose(event.index, name, *values)

        self.examples.select(choose, [self.model, *controls], [*own, *answered], **private)
        for number, upload in enumerate(self.uploads):
            shown = [self.states[number], self.views[number], *answered]
            received = answering.receive(number)
            upload.upload(received, [upload, *request, *controls], shown, **private)
