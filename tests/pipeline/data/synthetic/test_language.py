"""Generated captions: the parser recovers their meaning, which distinguishes scenes."""

import pytest

from pipeline.data.synthetic.language import caption_grammar, facts, lexicon, parser
from pipeline.data.synthetic.scenes import backgrounds, scene, shapes
from pipeline.data.synthetic.scenes.scene import Scene, Thing
from pipeline.data.synthetic.world import World
from pipeline.utils import seeds
from tests.helpers.worlds import FULL, POOR


@pytest.mark.parametrize(("world", "images"), [(FULL, 500), (POOR, 200)])
def test_captions_are_parsed_exactly_and_distinguish_scenes(world: World, images: int) -> None:
    scenes, captions = [], []
    for i in range(images):
        scenes.append(scene.sample(7, "flickr30k/test", i, 72, world, evaluation=True))
        captions.append(caption_grammar.captions(scenes[i], 5, seeds.generator(7, i), world))
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
    star = Thing("star", "red", "plain", "small", 0.5, 0.5, 0, FULL.sizes["small"])
    twin = Scene("sea", (star,), 48, 48, 1)
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


def test_all_that_has_words_can_be_drawn_and_is_known() -> None:
    for shape in lexicon.SHAPES:
        assert shapes.contours(shape)
    for background in lexicon.BACKGROUNDS:
        assert backgrounds.paint(background, 8, 8, 1).shape == (8, 8, 3)
    assert {kind: list(table) for kind, table in facts.about(FULL).items()} == {
        "shape": list(lexicon.SHAPES),
        "colour": list(lexicon.COLORS),
        "texture": list(lexicon.TEXTURES),
        "place": list(lexicon.BACKGROUNDS),
    }
