"""BookCorpus: `books_large_p1.txt` and `books_large_p2.txt`, one tokenized sentence in lower case
a line.

Stories follow one another without a mark; in each a hero walks about and sees scenes.
"""

import re
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np

from pipeline.data.synthetic.language import names, prose
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.utils import files, seeds

_CHAPTER = 60  # sentences of a story


def write(folder: Path, params: SyntheticParams) -> None:
    """Write the official files."""
    lines = list(islice(_lines(params), params.count("bookcorpus", "lines")))
    middle = len(lines) // 2
    _write_lines(folder / "books_large_p1.txt", lines[:middle])
    _write_lines(folder / "books_large_p2.txt", lines[middle:])


def _write_lines(path: Path, lines: list[str]) -> None:
    with files.replacing(path) as temporary:
        temporary.write_text("\n".join([*lines, ""]), encoding="utf-8", newline="\n")


def _tokenized(sentence: str) -> str:
    """The sentence in lower case, with blanks around punctuation marks."""
    tokens = re.findall(r"\w+|[^\w\s]", sentence.lower().replace('"', "''"))
    return " ".join(tokens).replace("' '", "''")


def _lines(params: SyntheticParams) -> Iterator[str]:
    """Sentences of stories, without end."""
    for number in count():
        rng = seeds.generator(params.seed, "story", number)
        yield from map(_tokenized, _story(params, rng))


def _story(params: SyntheticParams, rng: np.random.Generator) -> Iterator[str]:
    hero = names.person(rng)
    yield f"{hero} was a {names.trade(rng)} from {names.town(rng)}."
    for _ in range(_CHAPTER):
        draw = rng.random()
        if draw < 0.4:
            yield prose.deed(hero, rng, params.world)
        elif draw < 0.8:
            scene = prose.some_scene(params, "bookcorpus/train", rng)
            yield prose.depiction(scene, rng, params.world)
        else:
            yield prose.remark(rng, params.world)
