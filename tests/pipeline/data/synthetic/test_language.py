"""Generated captions: the parser recovers their meaning, which distinguishes scenes."""

import pytest

from pipeline.data.synthetic.language import caption_grammar, lexicon, parser
from pipeline.data.synthetic.scenes import scene
from pipeline.data.synthetic.scenes.scene import Scene, Thing
from pipeline.utils import seeds


def test_captions_are_parsed_exactly_and_distinguish_scenes() -> None:
    scenes = [scene.sample(7, "flickr30k/test", i, 72, evaluation=True) for i in range(500)]
    captions = [caption_grammar.captions(s, 5, seeds.generator(7, i)) for i, s in enumerate(scenes)]
    for described, group in zip(scenes, captions, strict=True):
        for caption in group:
            assert parser.parse(caption).holds(described)
            assert 5 <= len(caption.split()) <= 22
    text, image = parser.retrieval(scenes, captions)
    assert text >= 0.95 and image >= 0.95


def test_parser_reads_a_known_caption() -> None:
    meaning = parser.parse(
        "To the left of a big inky star with dots there is a rosy hoop high up,"
        " under the stars of night."
    )
    star, ring = meaning.mentions
    assert (star.size, star.color, star.texture, star.shape) == (
        "large",
        "black",
        "dotted",
        "star",
    )
    assert (ring.color, ring.shape, ring.position) == ("pink", "ring", "top")
    assert meaning.relations == [(1, "left", 0)] and meaning.background == "night"
    with pytest.raises(ValueError, match="'lawyer'"):
        parser.parse("A red lawyer on the beach.")


def test_retrieval_counts_a_tie_as_a_miss() -> None:
    twin = Scene("sea", (Thing("star", "red", "plain", "small", 0.5, 0.5, 0),), 48, 48, 1)
    assert parser.retrieval([twin, twin], [["A red star on the sea."]] * 2) == (0.0, 0.0)


def test_no_phrase_has_two_meanings() -> None:
    tables = (
        lexicon.SHAPES,
        lexicon.COLORS,
        lexicon.TEXTURES,
        lexicon.SIZES,
        lexicon.RELATIONS,
        lexicon.POSITIONS,
    )
    phrases = [phrase for table in tables for group in table.values() for phrase in group]
    phrases += [" ".join(phrase) for group in lexicon.BACKGROUNDS.values() for phrase in group]
    assert len(phrases) == len(set(phrases))
    assert set(lexicon.BACKGROUNDS) == set(scene.BACKGROUNDS) and set(lexicon.SHAPES) == set(
        scene.SHAPES
    )
