"""The visual tokens of images, and none for vectors that are no numbers."""

from torch import Tensor

from model.tokenizer.vqkd import VisualTokenizer
from pipeline.utils.finite import NonFiniteError


def visual_token_ids(tokenizer: VisualTokenizer, images: Tensor) -> Tensor:
    """Images float32 [batch, 3, size, size] in -1..1 to token ids int64 [batch, patches], row by
    row.

    Raises:
        NonFiniteError: the tokenizer's vector of a patch is NaN or infinite.
    """
    token_ids = tokenizer.token_ids(images)
    if bad := int((token_ids < 0).sum()):
        raise NonFiniteError(
            f"the visual tokenizer's vectors of {bad:,} of {token_ids.numel():,} patches are NaN or "
            "infinite; its weights are of no use, train it again at a lower lr or in fp32"
        )
    return token_ids
