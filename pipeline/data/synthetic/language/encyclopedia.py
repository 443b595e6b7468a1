"""The articles of an encyclopedia of the scenes: vocabulary, common knowledge, a shape in a color
each, then towns and people."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, product

import numpy as np

from pipeline.data.synthetic.language import caption_grammar, facts, lexicon, names, prose
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.world import World
from pipeline.utils import seeds

Subject = tuple[str, str, tuple[str, ...]]  # title, kind and first sentences of an article


@dataclass(frozen=True)
class Article:
    """kind: of its subject, such as `town`; introduction, sections: sentences."""

    title: str
    kind: str
    introduction: tuple[str, ...]
    sections: dict[str, tuple[str, ...]]


def articles(params: SyntheticParams, number: int) -> Iterator[Article]:
    """The first `number` articles."""
    for index, (title, kind, introduction) in enumerate(islice(_subjects(params), number)):
        rng = seeds.generator(params.seed, "article", index)
        yield Article(title, kind, introduction, _sections(params, rng))


def _sections(params: SyntheticParams, rng: np.random.Generator) -> dict[str, tuple[str, ...]]:
    depictions = []
    for _ in range(int(rng.integers(4, 9))):
        scene = prose.some_scene(params, "wikipedia/train", rng)
        depictions.append(prose.depiction(scene, rng, params.world))
    remarks = [prose.remark(rng, params.world) for _ in range(int(rng.integers(2, 5)))]
    events = [prose.event(rng, params.world) for _ in range(int(rng.integers(2, 6)))]
    return {
        "In pictures": tuple(depictions),
        "Properties": tuple(remarks),
        "History": tuple(events),
    }


def _subjects(params: SyntheticParams) -> Iterator[Subject]:
    """Subjects of articles, without end."""
    world = params.world
    for name, words in _vocabulary(world).items():
        introduction = f"Words for {name} are {', '.join(words)}, and others."
        yield f"Words for {name}", "list", (introduction,)
    for kind, table in facts.about(world).items():
        for name, sentences in table.items():
            yield name.capitalize(), kind, sentences
    for shape, color in product(world.shapes, world.colors):
        name = f"{color} {shape}"
        article = caption_grammar.an(name).capitalize()
        introduction = f"{article} {name} is a {shape} whose colour is {color}."
        knowledge = facts.SHAPES[shape][0], facts.COLORS[color][0]
        yield name.capitalize(), "object", (introduction, *knowledge)
    yield from _towns_and_people(seeds.generator(params.seed, "inhabitants"), world)


def _vocabulary(world: World) -> dict[str, list[str]]:
    """All words of the world's captions, by group.

    SentencePiece makes a word one piece only if it occurs beside different neighbors (`above` and
    `above,`), and in captions most words are followed by a blank.
    """
    tables = {
        **world.words,
        "arrangements": lexicon.RELATIONS,
        "positions": lexicon.POSITIONS,
    }
    vocabulary = {}
    for name, table in tables.items():
        vocabulary[name] = _distinct_words(*chain.from_iterable(table.values()))
    phrases = chain.from_iterable(lexicon.BACKGROUNDS[name] for name in world.backgrounds)
    vocabulary["places"] = _distinct_words(*map(" ".join, phrases))
    vocabulary["sentences"] = _distinct_words(
        *caption_grammar.VERBS,
        *lexicon.NEXT_TO,
        *(lexicon.TEXTURE_ENDINGS[name] for name in world.marked_textures),
        "there",
        "nearby",
        "as well",
        "all alone",
        "only one",
        "a single",
    )
    return vocabulary


def _distinct_words(*phrases: str) -> list[str]:
    """The words of phrases in the order in which they first occur."""
    return list(dict.fromkeys(" ".join(phrases).split()))


def _towns_and_people(rng: np.random.Generator, world: World) -> Iterator[Subject]:
    """A town and a person by turns, without end and without repetition."""
    seen: set[str] = set()
    while True:
        town, person, trade = names.town(rng), names.person(rng), names.trade(rng)
        if town not in seen:
            fame = f"{town} is a town known for {prose.thing(rng, world)}."
            trades = f"Most of its people are {trade}s and {names.trade(rng)}s."
            yield town, "town", (fame, trades)
        if person not in seen:
            origin = f"{person} was a {trade} from {town}."
            work = f"The best known work of {person} shows {prose.thing(rng, world)}."
            yield person, "person", (origin, work)
        seen |= {town, person}
