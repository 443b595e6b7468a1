"""The captioned pictures of a source: which scene, which picture, which words, as functions of
stream and index."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.data.synthetic.language import caption_grammar
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render, scene
from pipeline.data.synthetic.scenes.scene import Scene
from pipeline.utils import seeds

EVALUATION = (
    "val",
    "test",
)  # parts whose combinations of attributes occur in no other part of any source


@dataclass(frozen=True)
class Item:
    """One captioned picture of a part of a source."""

    part: str
    index: int
    scene: Scene
    captions: tuple[str, ...]

    def jpeg(self, params: SyntheticParams) -> bytes:
        """The picture as JPEG bytes."""
        return render.jpeg(self.scene, params.jpeg_quality)


def scene_at(params: SyntheticParams, source: str, part: str, index: int) -> Scene:
    """Scene number `index` of a part of a source; held-out combinations in the parts for
    evaluation, and only there."""
    return scene.sample(
        params.seed, f"{source}/{part}", index, params.image_size, evaluation=part in EVALUATION
    )


def item(params: SyntheticParams, source: str, part: str, index: int) -> Item:
    """One captioned picture with five captions; in COCO one in 100 has six and one in 1000
    seven."""
    world = scene_at(params, source, part, index)
    rng = seeds.generator(params.seed, "captions", source, part, index)
    extra = (index % 100 == 99) + (index % 1000 == 999) if source == "coco" else 0
    return Item(part, index, world, tuple(caption_grammar.captions(world, 5 + extra, rng)))


def items(params: SyntheticParams, source: str, part: str) -> Iterator[Item]:
    """All captioned pictures of a part."""
    return (item(params, source, part, index) for index in range(params.count(source, part)))


def shuffled(params: SyntheticParams, source: str, count: int) -> list[int]:
    """0..count-1 in an order of the source's own: official files are not sorted either."""
    return [
        int(number) for number in seeds.generator(params.seed, "order", source).permutation(count)
    ]


def karpathy(entry: Item, imgid: int, first_sentence: int) -> dict[str, object]:
    """The entry of a picture in a `dataset_*.json` of Karpathy's splits, without its file."""
    sentids = list(range(first_sentence, first_sentence + len(entry.captions)))
    sentences = [
        {
            "tokens": "".join(c for c in caption.lower() if c.isalnum() or c == " ").split(),
            "raw": caption,
            "imgid": imgid,
            "sentid": sentid,
        }
        for caption, sentid in zip(entry.captions, sentids, strict=True)
    ]
    return {"sentids": sentids, "imgid": imgid, "sentences": sentences, "split": entry.part}
