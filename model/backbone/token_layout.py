"""Several inputs in one pass: the tokens of all texts and captions in one matrix, all patches in
another.

    text     texts' tokens | pairs' tokens
    image    pairs' patches | images' patches

So a matrix meets all the tokens of a modality in one product, routing to experts is a matter of
which matrix a token is in, and the expert for pairs has to split these at one index. Only attention
looks at the inputs one by one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class ModalityTokens(NamedTuple):
    """Vectors of tokens by modality, [tokens, embed_dim] each; one that no input has is empty."""

    text: Tensor
    image: Tensor

    def select(self, indices: "ModalityTokens") -> "ModalityTokens":
        """The tokens with these indices, int64 [n] of either modality."""
        text = self.text.index_select(0, indices.text)
        return ModalityTokens(text, self.image.index_select(0, indices.image))


@dataclass(frozen=True)
class Selection:
    """Some of a pass's tokens, in the order of the inputs."""

    indices: ModalityTokens  # int64 [n] into the matrices of text and of patches
    num_unpaired_text: int  # how many of the selected text tokens are of texts alone: the first
    num_paired_patches: int  # how many of the selected patches are of pairs: the first


@dataclass(frozen=True)
class InputShape:
    """Sizes of an input; `text` or `image` is 0 where its sequences have none."""

    batch: int
    text: int  # tokens of a sequence
    image: int  # patches of a sequence, [I_CLS] included

    @property
    def is_pair(self) -> bool:
        """Whether its sequences have both."""
        return self.text > 0 and self.image > 0


@dataclass(frozen=True)
class TokenLayout:
    """Which tokens are whose.

    shapes: texts first, then pairs, then images.
    masks: of each input, for its attention: bool [batch, 1, 1, length], True for keys that may be
        attended to, or what is added to the scores, float [batch or 1, num_heads, length, length];
        None for neither.
    """

    shapes: Sequence[InputShape]
    masks: Sequence[Tensor | None]

    @property
    def num_unpaired_text(self) -> int:
        """How many text tokens are of texts alone; the others are of pairs."""
        return sum(shape.batch * shape.text for shape in self.shapes if not shape.image)

    @property
    def num_paired_patches(self) -> int:
        """How many patches are of pairs; the others are of images alone."""
        return sum(shape.batch * shape.image for shape in self.shapes if shape.text)

    def split(self, tokens: ModalityTokens) -> list[ModalityTokens]:
        """[tokens, ...] to each input's text [batch, text, ...] and image [batch, image, ...]."""
        texts = tokens.text.split([shape.batch * shape.text for shape in self.shapes])
        images = tokens.image.split([shape.batch * shape.image for shape in self.shapes])
        by_input = []
        for shape, text, image in zip(self.shapes, texts, images, strict=True):
            text = text.unflatten(0, (shape.batch, shape.text))
            image = image.unflatten(0, (shape.batch, shape.image))
            by_input.append(ModalityTokens(text, image))
        return by_input

    def join(self, by_input: Sequence[ModalityTokens]) -> ModalityTokens:
        """The inverse of `split`."""
        texts = [tokens.text.flatten(0, 1) for tokens in by_input]
        images = [tokens.image.flatten(0, 1) for tokens in by_input]
        return ModalityTokens(_concatenated(texts), _concatenated(images))

    def select(self, positions: Sequence[ModalityTokens]) -> Selection:
        """Tokens by their positions, int64 [n], in each input's flattened text [batch * text] and
        image [batch * image]."""
        text, image = [], []
        text_start = image_start = num_unpaired_text = num_paired_patches = 0
        for shape, position in zip(self.shapes, positions, strict=True):
            text.append(position.text + text_start)
            image.append(position.image + image_start)
            text_start += shape.batch * shape.text
            image_start += shape.batch * shape.image
            num_unpaired_text += 0 if shape.image else position.text.shape[0]
            num_paired_patches += position.image.shape[0] if shape.text else 0
        indices = ModalityTokens(_concatenated(text), _concatenated(image))
        return Selection(indices, num_unpaired_text, num_paired_patches)

    def biased(self, relative_bias: Callable[[int, int], Tensor]) -> "TokenLayout":
        """The same, whose masks, of keys until here, say what is added to the scores.

        relative_bias: from numbers of tokens and patches to biases [num_heads, length, length].
        """
        masks = []
        for shape, mask in zip(self.shapes, self.masks, strict=True):
            bias = relative_bias(shape.text, shape.image)[None]
            masks.append(bias if mask is None else bias.masked_fill(~mask, float("-inf")))
        return replace(self, masks=masks)

    def per_input(
        self,
        attend: Callable[[Sequence[Tensor], Tensor | None], Sequence[Tensor]],
        tokens: ModalityTokens,
    ) -> ModalityTokens:
        """Apply `attend` to each input's sequences, in one part or, for pairs, in two, [batch,
        text, ...] and [batch, image, ...], and its mask."""
        by_input = []
        for shape, halves, mask in zip(self.shapes, self.split(tokens), self.masks, strict=True):
            if shape.is_pair:
                text, image = attend(halves, mask)
            elif shape.text:
                (text,) = attend([halves.text], mask)
                image = text.new_empty(shape.batch, 0, text.shape[2])
            else:
                (image,) = attend([halves.image], mask)
                text = image.new_empty(shape.batch, 0, image.shape[2])
            by_input.append(ModalityTokens(text, image))
        return self.join(by_input)


def _concatenated(parts: Sequence[Tensor]) -> Tensor:
    """All parts [n, ...] along the first axis; a single one that is not empty as it is."""
    filled = [part for part in parts if part.shape[0]] or list(parts[:1])
    return filled[0] if len(filled) == 1 else torch.cat(filled)
