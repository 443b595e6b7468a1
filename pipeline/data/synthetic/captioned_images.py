"""The captioned images of a source: scene, image and captions as functions of part and index."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.data.synthetic.language import caption_grammar
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.scenes import render, scene
from pipeline.data.synthetic.scenes.scene import Scene
from pipeline.utils import seeds

# parts whose combinations of attributes occur in no other part of any source
EVALUATION = ("val", "test")


@dataclass(frozen=True)
class CaptionedImage:
    """The image number `index` of a part of a source, with its captions."""

    part: str
    index: int
    scene: Scene
    captions: tuple[str, ...]

    def jpeg(self, params: SyntheticParams) -> bytes:
        """The image as JPEG bytes."""
        return render.jpeg(self.scene, params.jpeg_quality)


def scene_at(params: SyntheticParams, source: str, part: str, index: int) -> Scene:
    """Scene number `index` of a part of a source; with a combination for evaluation in validation
    and test parts, and only there."""
    return scene.sample(
        params.seed,
        f"{source}/{part}",
        index,
        params.image_size,
        params.world,
        evaluation=part in EVALUATION,
    )


def captioned_image(params: SyntheticParams, source: str, part: str, index: int) -> CaptionedImage:
    """An image with five captions; in COCO one in 100 has six and one in 1000 seven."""
    image_scene = scene_at(params, source, part, index)
    rng = seeds.generator(params.seed, "captions", source, part, index)
    extra = (index % 100 == 99) + (index % 1000 == 999) if source == "coco" else 0
    captions = caption_grammar.captions(image_scene, 5 + extra, rng, params.world)
    return CaptionedImage(part, index, image_scene, tuple(captions))


def captioned_images(params: SyntheticParams, source: str, part: str) -> Iterator[CaptionedImage]:
    """All captioned images of a part."""
    for index in range(params.count(source, part)):
        yield captioned_image(params, source, part, index)


def shuffled_indices(params: SyntheticParams, order: str, count: int) -> list[int]:
    """0..count-1 in an order that its name decides: official files are not sorted either."""
    permutation = seeds.generator(params.seed, "order", order).permutation(count)
    return [int(index) for index in permutation]


def karpathy_entry(image: CaptionedImage, imgid: int, first_sentence: int) -> dict[str, Any]:
    """The entry of an image in a `dataset_*.json` of Karpathy's splits, without its file name.

    first_sentence: id of the image's first caption; the others follow it.
    """
    sentences = []
    for sentid, caption in enumerate(image.captions, first_sentence):
        words = "".join(c for c in caption.lower() if c.isalnum() or c == " ")
        sentences.append(
            {"tokens": words.split(), "raw": caption, "imgid": imgid, "sentid": sentid}
        )
    return {
        "sentids": [sentence["sentid"] for sentence in sentences],
        "imgid": imgid,
        "sentences": sentences,
        "split": image.part,
    }
