"""What one half of a pair says of the other.

The masked half is predicted beside the whole other half of its own pair (`right`), of another pair
(`other`), and alone (`none`). Visible patches say more of masked ones than a caption does; so
patches are predicted once more where all of their image is masked (`mvlm_blank`), and the caption is
all there is to go by.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from model.pretraining.batches import ImageBatch, PairBatch, TextBatch
from model.pretraining.masked_modeling import MaskedModeling
from pipeline.pretraining.score import Score

MEASURES = ("mvlm_text", "mvlm_image", "mvlm_blank")


def as_trained(model: MaskedModeling, pairs: PairBatch) -> tuple[Tensor, Tensor]:
    """Logits [n, vocab_size] and [m, codebook_size] at the masked positions: both halves masked in
    one pass, or each beside the whole other one, as `mvlm_mode` has it."""
    text, image = pairs.text, pairs.image
    if model.config.mvlm_mode == "joint":
        return model.mvlm(text, image)
    return model.mvlm(text, _whole_image(image))[0], model.mvlm(_whole_text(text), image)[1]


def predictions(
    model: MaskedModeling, pairs: PairBatch, others: PairBatch
) -> Iterator[tuple[str, Tensor, TextBatch | ImageBatch]]:
    """Names, logits at the masked positions, and what these are of: as trained, and beside each of
    the three; `others`: for each pair another one."""
    text, image = pairs.text, pairs.image
    blank = image._replace(masked=torch.ones_like(image.masked))
    right, other = (_beside_whole(model, pairs, beside) for beside in (pairs, others))
    words, patches = model.mvlm(text, image) if model.config.mvlm_mode == "joint" else right
    yield "mvlm_text", words, text
    yield "mvlm_image", patches, image
    for name, beside, (words, patches) in (("right", pairs, right), ("other", others, other)):
        yield f"mvlm_text_{name}", words, text
        yield f"mvlm_image_{name}", patches, image
        yield f"mvlm_blank_{name}", model.mvlm(_whole_text(beside.text), blank)[1], blank
    yield "mvlm_text_none", model.mlm(text), text
    yield "mvlm_image_none", model.mim(image), image


def gains(scores: Mapping[str, Score]) -> dict[str, float]:
    """How far the right other half is ahead of another pair's, where pairs were measured."""
    metrics: dict[str, float] = {}
    for name in MEASURES:
        if f"{name}_right" in scores:
            metrics |= scores[f"{name}_right"].gain(scores[f"{name}_other"], name)
    return metrics


def _beside_whole(
    model: MaskedModeling, pairs: PairBatch, others: PairBatch
) -> tuple[Tensor, Tensor]:
    """Logits [n, vocab_size] and [m, codebook_size] at the masked positions of pairs, each half beside
    the whole other half of `others`."""
    words, _ = model.mvlm(pairs.text, _whole_image(others.image))
    _, patches = model.mvlm(_whole_text(others.text), pairs.image)
    return words, patches


def _whole_text(text: TextBatch) -> TextBatch:
    return text._replace(ids=text.whole_ids())


def _whole_image(image: ImageBatch) -> ImageBatch:
    return image._replace(masked=torch.zeros_like(image.masked))
