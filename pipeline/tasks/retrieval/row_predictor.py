"""What a saved retrieval model answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError
from pipeline.tasks.row_columns import Type

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.data.transforms.image_decoding import Source
    from pipeline.tasks.saved_model import SavedModel

MODEL = "Retrieval"
INPUTS = ("image", "text")
OUTPUTS: dict[str, Type] = {
    "image_embedding": "numbers",
    "text_embedding": "numbers",
    "similarity": "number",
    "match": "number",
}


def predict_row(saved: SavedModel, images: Sequence[Source], text: str | None) -> dict[str, Any]:
    """Unit vectors of image and text, each by itself; of both, their cosine and the probability
    that they match, where the model tells it."""
    answer: dict[str, Any] = {}
    if images:
        answer["image_embedding"] = image_features(saved, images)[0].tolist()
    if text is not None:
        answer["text_embedding"] = text_features(saved, [text])[0].tolist()
    if images and text is not None:
        answer["similarity"] = similarity(saved, images, [text])[0, 0].item()
        if saved.model.config.matching:
            answer["match"] = match(saved, images[:1], [text])[0].item()
    return answer


def image_features(saved: SavedModel, images: Sequence[Source]) -> Tensor:
    """Unit vectors [images, embed_dim], fp32."""
    return saved.model.encode_image(saved.pixels(images))


def text_features(saved: SavedModel, texts: Sequence[str]) -> Tensor:
    """Unit vectors [texts, embed_dim], fp32."""
    return saved.model.encode_text(*saved.ids(texts))


def similarity(saved: SavedModel, images: Sequence[Source], captions: Sequence[str]) -> Tensor:
    """Cosines of each image with each caption, [images, captions]."""
    return image_features(saved, images) @ text_features(saved, captions).T


def match(saved: SavedModel, images: Sequence[Source], captions: Sequence[str]) -> Tensor:
    """The probability that each image and the caption beside it belong together, [pairs] in 0..1:
    the fusion encoder reads both at once. Raises UserError as `match_logits`."""
    return match_logits(saved, images, captions).softmax(dim=1)[:, 1]


def match_logits(saved: SavedModel, images: Sequence[Source], captions: Sequence[str]) -> Tensor:
    """The fusion encoder's logits that each image and the caption beside it do not, and that they
    do belong together, [pairs, 2]. Raises UserError where one of a pair is missing, or the model is
    a dual encoder alone."""
    from pipeline.utils import finite

    if not saved.model.config.matching:
        raise UserError("match: this model compares vectors alone; use `similarity`")
    pixels, (ids, mask) = saved.pixels(images), saved.ids(captions)
    if len(pixels) != len(ids):
        raise UserError(
            f"match: {len(pixels)} images and {len(ids)} captions; it takes pairs, and `similarity` "
            "compares every image with every caption"
        )
    return finite.checked(saved.model.match_logits(pixels, ids, mask), "match logits")
