"""Texts of data in matplotlib's figures: drawn as they are, never read as formulas, and nothing in
them ends the drawing."""

import warnings
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def label(text: str, width: int, lines: int = 1) -> str:
    """A text folded into lines of `width` characters, for anything of matplotlib that takes a text.
    What does not fit ends in an ellipsis; what has no shape, such as control characters and half
    surrogate pairs, becomes a blank."""
    visible = "".join(character if character.isprintable() else " " for character in text)
    folded = fill(visible, width, max_lines=lines, placeholder=" …")
    return folded.replace("$", r"\$")  # between two plain ones matplotlib reads a formula


def save(figure: "Figure", path: Path) -> None:
    """Write a PNG file, the same bytes every time. Characters that the font lacks are boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from", UserWarning)
        figure.savefig(path, format="png", metadata={"Software": None})
