"""From vectors after the final norm to logits of text ids: three forms among which the paper leaves
the choice.

Each ends in one matrix as large as the vocabulary. `last_layer` hands it out, for a loss that never
holds all logits.
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

BERT_EPS = 1e-12  # of the norm in the form `transform`

Form = Literal["linear", "transform", "tied"]


def mlm_head(form: Form, embed_dim: int, vocab_size: int) -> nn.Module:
    """The head.

    linear: one matrix, as the head of visual tokens (BEiT-3).
    transform: a layer, GELU and a norm before it (BERT, VLMo).
    tied: the word embedding is the matrix (BERT).
    """
    if form not in get_args(Form):
        raise ValueError(f"mlm_head: expected one of {', '.join(get_args(Form))}, found {form!r}")
    if form == "tied":
        return WordTable(vocab_size)
    last = nn.Linear(embed_dim, vocab_size)
    if form == "linear":
        return last
    return nn.Sequential(
        nn.Linear(embed_dim, embed_dim), nn.GELU(), nn.LayerNorm(embed_dim, eps=BERT_EPS), last
    )


class WordTable(nn.Module):
    """Logits by the vectors of the word embedding, which the caller passes in."""

    def __init__(self, vocab_size: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocab_size))


def last_layer(head: nn.Module, x: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The head without its last matrix.

    Args:
        head: as made by `mlm_head`.
        x: [n, embed_dim].
        words: the word embedding, [vocab_size, embed_dim].

    Returns:
        What the matrix is applied to [n, embed_dim], the matrix [vocab_size, embed_dim], and
        its bias [vocab_size].
    """
    if isinstance(head, WordTable):
        return x, words, head.bias
    if isinstance(head, nn.Sequential):
        *layers, head = head
        for layer in layers:
            x = layer(x)
    assert isinstance(head, nn.Linear)
    return x, head.weight, head.bias
