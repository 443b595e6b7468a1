"""No text of data ends the drawing of a figure or is read as a formula."""

import io
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import cbook
from matplotlib.figure import Figure
from PIL import Image

from pipeline.data.shards import parquet, schema
from pipeline.tasks.classification import visualize as classification
from pipeline.tasks.classification.training.metrics import Predictions
from pipeline.tasks.nlvr2 import visualize as nlvr2
from pipeline.tasks.nlvr2.training.data import Examples
from pipeline.tasks.retrieval import visualize as retrieval
from pipeline.tasks.retrieval.training.data import EvaluationSet
from pipeline.tasks.segmentation import visualize as segmentation
from pipeline.tasks.segmentation.training.data import LabeledImage
from pipeline.tasks.vqa import visualize as vqa
from pipeline.tasks.vqa.training.data import Question, ShownQuestion
from pipeline.tasks.vqa.training.metrics import Prediction
from pipeline.utils import figures
from tests.helpers.image_files import encoded, scene

# formulas, half a pair, controls, what no font has, markup
HOSTILE = (
    "costs $\\frac{1$ \\$ $x_$ \ud83d \x00\x07\u2028 漢字 | <b>&amp;\n\n" + "x" * 400 + " y" * 300
)
WORDS = ("_first", "$\\frac{1$", *HOSTILE.split())
ANY_TEXT = st.text(st.characters(categories=None), max_size=60) | st.sampled_from(WORDS)


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@given(ANY_TEXT, st.integers(8, 40), st.integers(1, 5))
def test_a_label_is_no_formula_and_fits(text, width, lines):
    label = figures.label(text, width, lines)
    assert not cbook.is_math_text(label)
    shown = label.replace(r"\$", "$").split("\n")
    assert len(shown) <= lines and max(map(len, shown)) <= width
    assert all(line.isprintable() for line in shown)


@given(st.text("ab $\\{}_^", max_size=30).map(str.strip))
def test_a_short_text_is_shown_as_it_is(text):
    assert figures.label(text, 40).replace(r"\$", "$") == text


@settings(max_examples=15, deadline=None)
@given(ANY_TEXT)
def test_any_text_is_drawn(text):
    figure = Figure(figsize=(1, 1), dpi=30)
    figure.suptitle(figures.label(text, 20, 3))
    figures.save(figure, buffer := io.BytesIO())
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_formulas_do_end_the_drawing_without_a_label():
    figure = Figure(figsize=(1, 1), dpi=30)
    figure.suptitle("costs $\\frac{1$")
    with pytest.raises(ValueError, match="frac"):
        figures.save(figure, io.BytesIO())


PIXELS = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)


def draw_vqa(path):
    question = Question(1, HOSTILE, (HOSTILE,), "key")
    vqa.draw(
        [Prediction(question, ((HOSTILE, 0.5), ("$", 0.1)))],
        [ShownQuestion(question, PIXELS[0].numpy())],
        path,
    )


def draw_nlvr2(path):
    ids, mask = torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 4, dtype=torch.bool)
    batch = Examples(["a"], ["a"], [HOSTILE], torch.ones(1), PIXELS[None, :2], ids, mask)
    nlvr2.draw(batch, [0.5], path)


def draw_retrieval(path):
    data = EvaluationSet(["a", "b"], [HOSTILE, "$x$"], PIXELS[:2], [], torch.tensor([0, 1]))
    retrieval.draw(data, torch.eye(2), 1 - torch.eye(2), path)


def draw_segmentation(path):
    mask = np.array([[1, 2], [0, 1]], np.uint8)
    labeled = LabeledImage("a", Image.new("RGB", (2, 2)), mask)
    segmentation.draw(path, [(labeled, mask)], [HOSTILE, "_second"])


def draw_classification(path):
    row = {"key": "a", "image": encoded(scene(), "PNG"), "width": 48, "height": 32}
    rows = [row | {"captions": [], "label": 0}]
    parquet.write_index(
        path.parent,
        {
            "val": parquet.write(
                path.parent, "val", rows, schema.IMAGE_SHARD, rows_per_group=1, groups_per_file=1
            )
        },
    )
    one = torch.zeros(1, dtype=torch.int64)
    predictions = Predictions(["a"], one, one, torch.ones(1), one, torch.ones(1))
    classification.draw(path.parent, "val", predictions, {0: HOSTILE}, path)


@pytest.mark.parametrize(
    "draw", [draw_vqa, draw_nlvr2, draw_retrieval, draw_segmentation, draw_classification]
)
def test_every_tasks_figure_draws_texts_of_any_kind(draw, tmp_path):
    draw(tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as figure:
        assert figure.width > 100


@pytest.mark.parametrize("names", [["wall"] * 9, [f"a class of many words {n}" for n in range(60)]])
def test_the_legend_of_one_image_is_within_the_figure(names, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    mask = np.arange(len(names), dtype=np.uint8)[None] + 1
    labeled = LabeledImage("a", Image.new("RGB", (len(names), 1)), mask)
    segmentation.draw(tmp_path / "figure.png", [(labeled, mask)], names)
    figure = drawn[0]
    figure.canvas.draw()
    legend, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert legend.x0 >= 0 and legend.y0 >= 0 and legend.x1 <= whole.x1 and legend.y1 <= whole.y1
