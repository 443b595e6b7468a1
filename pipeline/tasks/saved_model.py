"""A saved model with what its inputs are read with: what row predictors get."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pipeline.data.transforms import images
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

    def pixels(self, batch: Sequence[Image.Image]) -> Tensor:
        """Images as the model reads them, squeezed into squares: float [n, 3, size, size] in
        -1..1."""
        config = self.model.config
        size = getattr(config, "backbone", config).image_size
        squares = [images.square(image.convert("RGB"), size) for image in batch]
        return images.normalize(stack(squares).to(self._device))

    def ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts as the model reads them, cut off at its longest: ids int64 and mask bool, True for
        tokens, [n, length].

        Raises:
            UserError: the model was loaded without a tokenizer.
        """
        if self.tokenizer is None:
            raise UserError(
                "this model was loaded without the SentencePiece model that its texts are read with"
            )
        longest = self.model.config.backbone.text_length
        ids, mask = pad([self.tokenizer.encode(text, longest) for text in texts])
        return ids.to(self._device), mask.to(self._device)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def ranked(logits: Tensor, probabilities: Tensor, names: Sequence[str], best: int) -> Ranked:
    """The `best` names by their logits [names], with their probabilities [names] in 0..1.

    Raises:
        NonFiniteError: a logit is NaN or infinite.
    """
    top = best_first(finite.checked(logits, "logits"), best)
    answers = [names[index] for index in top.tolist()]
    return list(zip(answers, probabilities[top].tolist(), strict=True))
