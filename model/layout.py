"""Several streams in one pass: the tokens of all texts and captions in one matrix, all patches in another.

    text     texts' tokens | pairs' tokens
    image    pairs' patches | pictures' patches

So a matrix meets all the tokens of a modality in one product, routing to experts is a matter of which matrix a token is
in, and the expert for pairs has to split these at one index. Only attention looks at the streams one by one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """Vectors of tokens, [rows, width]; a modality that no stream has is empty."""

    text: Tensor
    image: Tensor


@dataclass(frozen=True)
class Shape:
    """Of a stream; `text` or `image` is 0 where its sequences have none."""

    batch: int
    text: int  # tokens of a sequence
    image: int  # patches of a sequence, [I_CLS] included

    @property
    def is_pair(self) -> bool:
        """Whether its sequences have both."""
        return self.text > 0 and self.image > 0


@dataclass(frozen=True)
class Layout:
    """Where each stream's tokens are.

    shapes: texts first, then pairs, then pictures.
    masks: of each stream, for its attention: bool [batch, 1, 1, length], True for keys that may be attended to, or what
        is added to the scores, float [batch or 1, heads, length, length]; None for neither.
    """

    shapes: Sequence[Shape]
    masks: Sequence[Tensor | None]

    @property
    def of_texts(self) -> int:
        """How many rows of text are of texts alone; the others are of pairs."""
        return sum(s.batch * s.text for s in self.shapes if not s.image)

    @property
    def of_pairs(self) -> int:
        """How many rows of patches are of pairs; the others are of pictures alone."""
        return sum(s.batch * s.image for s in self.shapes if s.text)

    def halves(self, rows: Rows) -> list[Rows]:
        """Rows to each stream's text [batch, text, ...] and image [batch, image, ...]."""
        texts = rows.text.split([s.batch * s.text for s in self.shapes])
        images = rows.image.split([s.batch * s.image for s in self.shapes])
        return [Rows(text.unflatten(0, (s.batch, s.text)), image.unflatten(0, (s.batch, s.image)))
                for s, text, image in zip(self.shapes, texts, images, strict=True)]

    def rows(self, halves: Sequence[tuple[Tensor, Tensor]]) -> Rows:
        """The inverse of `halves`."""
        return Rows(*(_joined([half.flatten(0, 1) for half in modality]) for modality in zip(*halves, strict=True)))

    def per_stream(self, attend: Callable[[Tensor, Tensor | None], Tensor], rows: Rows) -> Rows:
        """Apply `attend` to each stream's sequences [batch, text + image, ...] and its mask."""
        done = []
        for shape, (text, image), mask in zip(self.shapes, self.halves(rows), self.masks, strict=True):
            if shape.is_pair:
                attended = attend(torch.cat([text, image], dim=1), mask)
                done.append(attended.split([shape.text, shape.image], dim=1))
            else:  # no join and no split: each would be a copy, and in the backward pass another
                attended = attend(text if shape.text else image, mask)
                nothing = attended.new_empty(shape.batch, 0, attended.shape[2])
                done.append((attended, nothing) if shape.text else (nothing, attended))
        return self.rows(done)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """The rows of all parts; those of a single one as they are."""
    there = [part for part in parts if len(part)] or parts[:1]
    return there[0] if len(there) == 1 else torch.cat(there)
