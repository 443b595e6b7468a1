"""BookCorpus: `books_large_p1.txt` and `books_large_p2.txt`, one lower-cased, tokenised sentence a
line.

Stories follow one another without a mark; in each a hero walks through the world and tells what is
seen.
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
    for name, part in (
        ("books_large_p1.txt", lines[:middle]),
        ("books_large_p2.txt", lines[middle:]),
    ):
        with files.replacing(folder / name) as temporary:
            temporary.write_text(
                "".join(line + "\n" for line in part), encoding="utf-8", newline="\n"
            )


def tokenised(sentence: str) -> str:
    """Lower case, with blanks around punctuation marks."""
    return " ".join(re.findall(r"\w+|[^\w\s]", sentence.lower().replace('"', "''"))).replace(
        "' '", "''"
    )


def _lines(params: SyntheticParams) -> Iterator[str]:
    for number in count():
        rng = seeds.generator(params.seed, "story", number)
        yield from map(tokenised, _story(params, rng))


def _story(params: SyntheticParams, rng: np.random.Generator) -> Iterator[str]:
    hero = names.person(rng)
    yield f"{hero} was a {names.trade(rng)} from {names.town(rng)}."
    for _ in range(_CHAPTER):
        draw = rng.random()
        if draw < 0.4:
            yield prose.deed(hero, rng)
        elif draw < 0.8:
            yield prose.depiction(prose.some_scene(params, "bookcorpus/train", rng), rng)
        else:
            yield prose.remark(rng)
