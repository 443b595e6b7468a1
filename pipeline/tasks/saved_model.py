"""A saved model with what its inputs are read with: what row predictors get."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pipeline.data.records import annotation_text
from pipeline.data.transforms import image_decoding, images
from pipeline.data.transforms.image_decoding import BadImage, Source
from pipeline.errors import UserError
from pipeline.tasks.image_text_inputs import pad, stack
from pipeline.tasks.ranking import best_first
from pipeline.tasks.row_columns import Ranked
from pipeline.tokenizers.text import TextTokenizer
from pipeline.utils import finite


@dataclass(frozen=True)
class SavedModel:
    """A model in evaluation mode, with its tokenizer and the names of its classes."""

    model: Any  # nn.Module; its class, which a config.json names, decides which methods it has
    tokenizer: TextTokenizer | None
    classes: tuple[str, ...]  # names, where there are any

    def pixels(self, batch: Sequence[Source]) -> Tensor:
        """Images as the model reads them, squeezed into squares: float [n, 3, size, size] in
        -1..1.

        Raises:
            UserError: there is none, or one cannot be used.
        """
        config = self.model.config
        size = getattr(config, "backbone", config).image_size
        squares = [images.square(image, size) for image in map(_image, _several(batch, "images"))]
        return images.normalize(stack(squares).to(self._device))

    def ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts as the model reads them, cut off at its longest: ids int64 and mask bool, True for
        tokens, [n, length].

        Raises:
            UserError: the model was loaded without a tokenizer, or there is no text.
        """
        if self.tokenizer is None:
            raise UserError(
                "this model was loaded without the tokenizer file that its texts are read with"
            )
        longest = self.model.config.backbone.text_length
        checked = map(_text, _several(texts, "texts"))
        ids, mask = pad([self.tokenizer.encode(text, longest) for text in checked])
        return ids.to(self._device), mask.to(self._device)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def ranked(logits: Tensor, probabilities: Tensor, names: Sequence[str], best: int) -> Ranked:
    """The `best` names by their logits [names], with their probabilities [names] in 0..1.

    Raises:
        UserError: `best` is less than one, a logit is NaN or infinite, or there are not as many
            names as logits.
    """
    if not isinstance(best, int) or best < 1:
        raise UserError(f"best: expected a number from 1, found {best!r}")
    if len(names) != len(logits):
        raise UserError(f"classes.json: {len(names)} names for the model's {len(logits)} classes")
    top = best_first(finite.checked(logits, "logits"), best)
    answers = [names[index] for index in top.tolist()]
    return list(zip(answers, probabilities[top].tolist(), strict=True))


def _several(batch: Any, what: str) -> list[Any]:
    if isinstance(batch, (str, bytes, Image.Image)) or not isinstance(batch, Iterable):
        raise UserError(f"{what}: expected a list, found {type(batch).__name__}")
    several = list(batch)
    if not several:
        raise UserError(f"{what}: the list is empty")
    return several


def _image(source: Source) -> Image.Image:
    try:
        return image_decoding.read(source)
    except BadImage as error:
        raise UserError(str(error)) from None


def _text(text: Any) -> str:
    """The text as a shard would hold it."""
    if not isinstance(text, str):
        raise UserError(f"text: expected a string, found {type(text).__name__}")
    if not text.isascii() and text != text.encode("utf-8", "replace").decode():
        raise UserError("text: it has half a surrogate pair, which is no character")
    return annotation_text(text)
