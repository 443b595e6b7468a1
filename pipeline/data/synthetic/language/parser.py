"""An exact reader of the captions, and what it finds: the yardstick of how far captions tell scenes
apart.

It shares the words with `language` but not its sentences: it walks over the caption phrase by
phrase.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import permutations

from pipeline.data.synthetic.language import lexicon
from pipeline.data.synthetic.scenes.scene import Scene, Thing, position, relation

_FILLER = frozenset(
    "a an the of and is are lies stands rests sits there picture photo view with nearby as well too"
    " can be seen someone put it nothing all in on at before near against among under".split()
)


@dataclass
class Mention:
    """What a caption says of one thing; None where it is silent."""

    shape: str | None = None
    color: str | None = None
    texture: str | None = None
    size: str | None = None
    position: str | None = None

    def holds(self, thing: Thing) -> bool:
        """Whether the thing is as told."""
        return (
            self.shape in (None, thing.shape)
            and self.color in (None, thing.color)
            and self.texture in (None, thing.texture)
            and self.size in (None, thing.size)
            and self.position in (None, position(thing))
        )


@dataclass
class Meaning:
    """The constraints that a caption puts on its scene. relations: (subject mention, name, other
    mention)."""

    mentions: list[Mention] = field(default_factory=list)
    relations: list[tuple[int, str, int]] = field(default_factory=list)
    background: str | None = None
    number: int | None = None

    def constraints(self) -> int:
        """How many facts are stated."""
        told = sum(
            value is not None for mention in self.mentions for value in vars(mention).values()
        )
        return (
            told + len(self.relations) + (self.background is not None) + (self.number is not None)
        )

    def holds(self, scene: Scene) -> bool:
        """Whether every constraint is true of the scene, for some choice of which mention is which
        thing."""
        if self.background not in (None, scene.background) or self.number not in (
            None,
            len(scene.things),
        ):
            return False
        return any(
            all(
                mention.holds(scene.things[i])
                for mention, i in zip(self.mentions, chosen, strict=True)
            )
            and all(_related(scene, chosen[a], name, chosen[b]) for a, name, b in self.relations)
            for chosen in permutations(range(len(scene.things)), len(self.mentions))
        )


def parse(caption: str) -> Meaning:
    """Read a caption. Raises ValueError at a word that is not in the lexicon."""
    meaning, pending, link = Meaning(), Mention(), None
    for kind, value in _phrases(caption):
        if kind in ("color", "texture", "size"):
            setattr(pending, kind, value)
        elif kind == "ending":
            meaning.mentions[-1].texture = value
        elif kind == "position":
            meaning.mentions[-1].position = value
        elif kind == "relation":
            link = (len(meaning.mentions) - 1, value)
        elif kind == "shape":
            pending.shape = value
            meaning.mentions.append(pending)
            pending, link = Mention(), _connect(meaning, link)
        elif kind == "number":
            meaning.number = int(value)
        else:
            meaning.background = value
    return meaning


def _connect(meaning: Meaning, link: tuple[int, str] | None) -> tuple[int, str] | None:
    """Attach a relation to the mention just read; one that opens the sentence waits for a second
    mention."""
    last = len(meaning.mentions) - 1
    if link is None or (link[0] < 0 and last == 0):
        return link
    subject, name = link
    meaning.relations.append((last, name, 0) if subject < 0 else (subject, name, last))
    return None


def retrieval(scenes: Sequence[Scene], captions: Sequence[Sequence[str]]) -> tuple[float, float]:
    """R@1 (0..1) of text retrieval and of image retrieval, by the parser alone.

    A picture takes the caption with the most constraints among those that hold; a caption takes the
    picture for which all its constraints hold. A tie counts as a miss.
    """
    told = [(owner, parse(caption)) for owner, group in enumerate(captions) for caption in group]
    fits = [_candidates(meaning, scenes) for _, meaning in told]
    image_hits = sum(found == [owner] for (owner, _), found in zip(told, fits, strict=True))
    own, foreign = [-1] * len(scenes), [-1] * len(scenes)
    for (owner, meaning), found in zip(told, fits, strict=True):
        for index in found:
            best = own if index == owner else foreign
            best[index] = max(best[index], meaning.constraints())
    text_hits = sum(a > b for a, b in zip(own, foreign, strict=True))
    return text_hits / len(scenes), image_hits / len(told)


def _candidates(meaning: Meaning, scenes: Sequence[Scene]) -> list[int]:
    return [
        index
        for index, scene in enumerate(scenes)
        if meaning.background in (None, scene.background) and meaning.holds(scene)
    ]


def _related(scene: Scene, subject: int, name: str, other: int) -> bool:
    found = relation(scene, subject, other)
    return found in ("left", "right") if name == "next to" else found == name


def _phrases(caption: str) -> list[tuple[str, str]]:
    """The meaningful phrases in order, as (kind, value), the longest match first."""
    words = re.findall(r"[a-z]+", caption.lower())
    table, found, start = _table(), [], 0
    while start < len(words):
        for length in range(min(6, len(words) - start), 0, -1):
            entry = table.get(" ".join(words[start : start + length]))
            if entry:
                found.append(entry)
                start += length
                break
        else:
            if words[start] not in _FILLER:
                raise ValueError(f"{words[start]!r} in {caption!r} is not a word of the world")
            start += 1
    return found


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[str, str]]:
    """Phrase -> (kind, value)."""
    table = {}
    for kind, entries in (
        ("shape", lexicon.SHAPES),
        ("color", lexicon.COLORS),
        ("texture", lexicon.TEXTURES),
        ("size", lexicon.SIZES),
        ("relation", lexicon.RELATIONS),
        ("position", lexicon.POSITIONS),
    ):
        table |= {phrase: (kind, value) for value, phrases in entries.items() for phrase in phrases}
    table |= {phrase: ("ending", value) for value, phrase in lexicon.TEXTURE_ENDINGS.items()}
    table |= {phrase: ("relation", "next to") for phrase in lexicon.NEXT_TO}
    table |= {
        " ".join(phrase): ("background", value)
        for value, phrases in lexicon.BACKGROUNDS.items()
        for phrase in phrases
    }
    table |= {phrase: ("number", "1") for phrase in (*lexicon.NUMBERS[1], "all alone")}
    return table | {
        f"{phrase} {thing}s": ("number", str(number))
        for number, phrases in lexicon.NUMBERS.items()
        if number > 1
        for phrase in phrases
        for thing in lexicon.THINGS
    }
