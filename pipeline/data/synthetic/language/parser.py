"""An exact parser of captions, and retrieval by it: a yardstick of how well captions distinguish
scenes.

It shares the words with `caption_grammar` but not its sentences: it reads a caption phrase by
phrase.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import permutations, product

from pipeline.data.synthetic.language import lexicon
from pipeline.data.synthetic.scenes.scene import Scene, Thing, position, relation

_FILLER_LIST = """
    a an the of and is are lies stands rests sits there picture photo view with nearby as well too
    can be seen someone put it nothing all in on at before near against among under
"""
_FILLERS = frozenset(_FILLER_LIST.split())
_LONGEST_PHRASE = 6  # words

Phrase = tuple[str, str]  # kind and value: ("color", "red")
Link = tuple[int, str]  # index of the mention that is the subject, and the name of the relation


@dataclass
class Mention:
    """The attributes that a caption states of one thing; None if it does not."""

    shape: str | None = None
    color: str | None = None
    texture: str | None = None
    size: str | None = None
    position: str | None = None

    def holds(self, thing: Thing) -> bool:
        """Whether the thing has all attributes that are stated."""
        return (
            self.shape in (None, thing.shape)
            and self.color in (None, thing.color)
            and self.texture in (None, thing.texture)
            and self.size in (None, thing.size)
            and self.position in (None, position(thing))
        )

    def constraints(self) -> int:
        """The number of attributes that are stated."""
        return sum(value is not None for value in vars(self).values())


@dataclass
class Meaning:
    """The constraints that a caption puts on its scene; relations: (index of the mention that is
    the subject, name, index of the other mention)."""

    mentions: list[Mention] = field(default_factory=list)
    relations: list[tuple[int, str, int]] = field(default_factory=list)
    background: str | None = None
    number: int | None = None

    def constraints(self) -> int:
        """The number of facts that are stated."""
        attributes = sum(mention.constraints() for mention in self.mentions)
        of_scene = (self.background is not None) + (self.number is not None)
        return attributes + len(self.relations) + of_scene

    def holds(self, scene: Scene) -> bool:
        """Whether every constraint is true of the scene for some assignment of things to
        mentions."""
        if self.background not in (None, scene.background):
            return False
        if self.number not in (None, len(scene.things)):
            return False
        assignments = permutations(range(len(scene.things)), len(self.mentions))
        return any(self._holds_for(scene, indices) for indices in assignments)

    def _holds_for(self, scene: Scene, indices: tuple[int, ...]) -> bool:
        """Whether mentions and relations are true of the things with these indices, one a
        mention."""
        for mention, index in zip(self.mentions, indices, strict=True):
            if not mention.holds(scene.things[index]):
                return False
        for subject, name, other in self.relations:
            if not _is_related(scene, indices[subject], name, indices[other]):
                return False
        return True


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


def _connect(meaning: Meaning, link: Link | None) -> Link | None:
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

    An image retrieves the caption with the most constraints among those that hold; a caption
    retrieves the image for which all its constraints hold. A tie counts as a miss.
    """
    total = image_hits = 0
    # most constraints of the captions that hold, for each scene: its captions, those of others
    matching, foreign = [-1] * len(scenes), [-1] * len(scenes)
    for described, group in enumerate(captions):
        for caption in group:
            meaning = parse(caption)
            candidates = _candidates(meaning, scenes)
            total += 1
            image_hits += candidates == [described]
            for index in candidates:
                most = matching if index == described else foreign
                most[index] = max(most[index], meaning.constraints())
    text_hits = sum(a > b for a, b in zip(matching, foreign, strict=True))
    return text_hits / len(scenes), image_hits / total


def _candidates(meaning: Meaning, scenes: Sequence[Scene]) -> list[int]:
    """Indices of the scenes of which the meaning holds."""
    return [index for index, scene in enumerate(scenes) if meaning.holds(scene)]


def _is_related(scene: Scene, subject: int, name: str, other: int) -> bool:
    actual = relation(scene, subject, other)
    return actual in ("left", "right") if name == "next to" else actual == name


def _phrases(caption: str) -> list[Phrase]:
    """The phrases of a caption in order, without fillers, the longest match first."""
    words = re.findall(r"[a-z]+", caption.lower())
    phrases: list[Phrase] = []
    start = 0
    while start < len(words):
        for length in range(min(_LONGEST_PHRASE, len(words) - start), 0, -1):
            phrase = _phrase_table().get(" ".join(words[start : start + length]))
            if phrase:
                phrases.append(phrase)
                start += length
                break
        else:
            if words[start] not in _FILLERS:
                raise ValueError(f"{words[start]!r} in {caption!r} is not a word of the captions")
            start += 1
    return phrases


@cache
def _phrase_table() -> dict[str, Phrase]:
    """Phrase by its words."""
    table: dict[str, Phrase] = {}
    for kind, entries in (
        ("shape", lexicon.SHAPES),
        ("color", lexicon.COLORS),
        ("texture", lexicon.TEXTURES),
        ("size", lexicon.SIZES),
        ("relation", lexicon.RELATIONS),
        ("position", lexicon.POSITIONS),
    ):
        for value, paraphrases in entries.items():
            table |= dict.fromkeys(paraphrases, (kind, value))
    for texture, words in lexicon.TEXTURE_ENDINGS.items():
        table[words] = ("ending", texture)
    table |= dict.fromkeys(lexicon.NEXT_TO, ("relation", "next to"))
    for background, phrases in lexicon.BACKGROUNDS.items():
        table |= dict.fromkeys(map(" ".join, phrases), ("background", background))
    table |= dict.fromkeys((*lexicon.NUMBERS[1], "all alone"), ("number", "1"))
    return table | _number_phrases()


def _number_phrases() -> dict[str, Phrase]:
    """`two objects`, and the like."""
    table: dict[str, Phrase] = {}
    for number, paraphrases in lexicon.NUMBERS.items():
        for words, thing in product(paraphrases, lexicon.THINGS):
            if number > 1:
                table[f"{words} {thing}s"] = ("number", str(number))
    return table
