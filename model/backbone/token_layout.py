"""Several streams in one pass: the tokens of all texts and captions in one matrix, all patches in
another.

    text     texts' tokens | pairs' tokens
    image    pairs' patches | pictures' patches

So a matrix meets all the tokens of a modality in one product, routing to experts is a matter of
which matrix a token is in, and the expert for pairs has to split these at one index. Only attention
looks at the streams one by one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """Vectors of tokens, [rows, embed_dim]; a modality that no stream has is empty."""

    text: Tensor
    image: Tensor

    def at(self, places: "Rows") -> "Rows":
        """The rows with these indices, int64 [n] of either modality."""
        return Rows(*(x.index_select(0, chosen) for x, chosen in zip(self, places, strict=True)))


@dataclass(frozen=True)
class Chosen:
    """Some of a pass's rows, streams in order."""

    places: Rows  # int64 [n], indices of the rows of text and of patches
    of_texts: int  # as in `Layout`, of the chosen ones
    of_pairs: int


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

    shapes: texts first, then pairs, then pictures. masks: of each stream, for its attention: bool
    [batch, 1, 1, length], True for keys that may be attended to, or what
        is added to the scores, float [batch or 1, num_heads, length, length]; None for neither.
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

    @property
    def _sizes(self) -> tuple[list[int], list[int]]:
        """Rows of text and of patches of each stream."""
        return [s.batch * s.text for s in self.shapes], [s.batch * s.image for s in self.shapes]

    def halves(self, rows: Rows) -> list[Rows]:
        """Rows to each stream's text [batch, text, ...] and image [batch, image, ...]."""
        texts, images = (x.split(sizes) for x, sizes in zip(rows, self._sizes, strict=True))
        return [
            Rows(text.unflatten(0, (s.batch, s.text)), image.unflatten(0, (s.batch, s.image)))
            for s, text, image in zip(self.shapes, texts, images, strict=True)
        ]

    def rows(self, halves: Sequence[tuple[Tensor, Tensor]]) -> Rows:
        """The inverse of `halves`."""
        return Rows(
            *(
                _joined([half.flatten(0, 1) for half in modality])
                for modality in zip(*halves, strict=True)
            )
        )

    def choose(self, places: Sequence[Rows]) -> Chosen:
        """Rows by their indices in each stream's flattened text and image."""
        starts = zip(*(accumulate(sizes[:-1], initial=0) for sizes in self._sizes), strict=True)
        moved = [
            (one.text + text, one.image + image)
            for one, (text, image) in zip(places, starts, strict=True)
        ]
        return Chosen(
            Rows(*map(torch.cat, zip(*moved, strict=True))),
            of_texts=sum(
                len(one.text) for one, s in zip(places, self.shapes, strict=True) if not s.image
            ),
            of_pairs=sum(
                len(one.image) for one, s in zip(places, self.shapes, strict=True) if s.text
            ),
        )

    def per_stream(
        self, attend: Callable[[Sequence[Tensor], Tensor | None], Sequence[Tensor]], rows: Rows
    ) -> Rows:
        """Apply `attend` to each stream's sequences, in one part or, for pairs, in two, [batch,
        text, ...] and [batch, image, ...], and its mask."""
        done = []
        for shape, halves, mask in zip(self.shapes, self.halves(rows), self.masks, strict=True):
            if shape.is_pair:
                done.append(attend(halves, mask))
            else:
                (attended,) = attend([halves.text if shape.text else halves.image], mask)
                nothing = attended.new_empty(shape.batch, 0, attended.shape[2])
                done.append((attended, nothing) if shape.text else (nothing, attended))
        return self.rows(done)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """The rows of all parts; those of a single one as they are."""
    there = [part for part in parts if len(part)] or parts[:1]
    return there[0] if len(there) == 1 else torch.cat(there)
