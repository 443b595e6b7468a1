"""What the pretraining model takes: masked texts, images and pairs, as tuples of tensors.

A position is an index into the flattened [batch * length] of a text batch, or the flattened
[batch * patches] of an image batch.
"""

from typing import NamedTuple

from torch import Tensor


class TextBatch(NamedTuple):
    """Texts with some of their tokens masked."""

    ids: Tensor  # int64 [batch, length], padded; masked tokens are replaced
    mask: Tensor | None  # bool [batch, length], True for tokens; None where nothing is padded
    masked_positions: Tensor  # int64 [n]
    targets: Tensor  # int64 [n], the ids that were replaced
    drop_path_noise: Tensor | None = None  # [batch, depth, 3] in [0, 1); None for evaluation

    def whole_ids(self) -> Tensor:
        """The ids with nothing masked, int64 [batch, length]."""
        ids = self.ids.flatten().index_copy(0, self.masked_positions, self.targets)
        return ids.view_as(self.ids)


class ImageBatch(NamedTuple):
    """Images with some of their patches masked."""

    pixels: Tensor  # float [batch, 3, size, size] in -1..1; as loaded: uint8 [batch, size, size, 3]
    masked: Tensor  # bool [batch, patches], row-major over the grid
    masked_positions: Tensor  # int64 [n]
    targets: Tensor | None  # int64 [n], visual tokens; None until online tokens are computed
    drop_path_noise: Tensor | None = None  # [batch, depth, 3] in [0, 1); None for evaluation


class PairBatch(NamedTuple):
    """Captions and images, sample by sample. Noise is the pair's, that of the halves is unused."""

    text: TextBatch
    image: ImageBatch
    drop_path_noise: Tensor | None = None  # [batch, depth, 3] in [0, 1); None for evaluation


StreamBatch = TextBatch | ImageBatch | PairBatch


class PretrainingBatch(NamedTuple):
    """One batch of each stream that is trained on."""

    texts: TextBatch | None = None
    images: ImageBatch | None = None
    pairs: PairBatch | None = None
