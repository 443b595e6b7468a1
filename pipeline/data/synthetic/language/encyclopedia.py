"""The articles of the world's encyclopedia: what there is, then what a shape in a color is, then
towns and people."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from pipeline.data.synthetic.language import caption_grammar, facts, lexicon, names, prose
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes.scene import COLORS, SHAPES
from pipeline.utils import seeds


@dataclass(frozen=True)
class Article:
    """title; kind: what it is about; introduction and sections: sentences."""

    title: str
    kind: str
    introduction: tuple[str, ...]
    sections: dict[str, tuple[str, ...]]


def articles(params: SyntheticParams, number: int) -> Iterator[Article]:
    """The first `number` articles."""
    subjects = _subjects(params)
    for index in range(number):
        title, kind, introduction = next(subjects)
        rng = seeds.generator(params.seed, "article", index)
        yield Article(
            title,
            kind,
            introduction,
            {
                "In pictures": tuple(
                    prose.depiction(prose.some_scene(params, "wikipedia/train", rng), rng)
                    for _ in range(int(rng.integers(4, 9)))
                ),
                "Properties": tuple(prose.remark(rng) for _ in range(int(rng.integers(2, 5)))),
                "History": tuple(prose.event(rng) for _ in range(int(rng.integers(2, 6)))),
            },
        )


def _subjects(params: SyntheticParams) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Title, kind and first sentences, without end."""
    for name, words in _vocabulary().items():
        yield (
            f"Words for {name}",
            "list",
            (f"Words for {name} are {', '.join(words)}, and others.",),
        )
    for kind, table in (
        ("shape", facts.SHAPES),
        ("colour", facts.COLORS),
        ("texture", facts.TEXTURES),
        ("place", facts.BACKGROUNDS),
    ):
        for name, sentences in table.items():
            yield name.capitalize(), kind, sentences
    for shape, color in product(SHAPES, COLORS):
        name = f"{color} {shape}"
        yield (
            name.capitalize(),
            "object",
            (
                f"{caption_grammar.an(name).capitalize()} {name} is a {shape} whose colour is {color}.",
                facts.SHAPES[shape][0],
                facts.COLORS[color][0],
            ),
        )
    yield from _inhabitants(seeds.generator(params.seed, "inhabitants"))


def _vocabulary() -> dict[str, list[str]]:
    """All words of the captions. SentencePiece can take a word whole only if it is seen with
    different neighbours (`above` and `above,`), and captions have most words followed by a
    blank."""
    tables = {
        "shapes": lexicon.SHAPES,
        "colours": lexicon.COLORS,
        "textures": lexicon.TEXTURES,
        "sizes": lexicon.SIZES,
        "arrangements": lexicon.RELATIONS,
        "positions": lexicon.POSITIONS,
    }
    phrases = {
        name: [phrase for paraphrases in table.values() for phrase in paraphrases]
        for name, table in tables.items()
    }
    phrases["places"] = [
        " ".join(phrase) for places in lexicon.BACKGROUNDS.values() for phrase in places
    ]
    phrases["sentences"] = [
        *caption_grammar.VERBS,
        *lexicon.NEXT_TO,
        *lexicon.TEXTURE_ENDINGS.values(),
        "there",
        "nearby",
        "as well",
        "all alone",
        "only one",
        "a single",
    ]
    return {name: list(dict.fromkeys(" ".join(group).split())) for name, group in phrases.items()}


def _inhabitants(rng: np.random.Generator) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    seen: set[str] = set()
    while True:
        town, person, trade = names.town(rng), names.person(rng), names.trade(rng)
        if town not in seen:
            yield (
                town,
                "town",
                (
                    f"{town} is a town known for {prose.thing(rng)}.",
                    f"Most of its people are {trade}s and {names.trade(rng)}s.",
                ),
            )
        if person not in seen:
            yield (
                person,
                "person",
                (
                    f"{person} was a {trade} from {town}.",
                    f"The best known work of {person} shows {prose.thing(rng)}.",
                ),
            )
        seen |= {town, person}
