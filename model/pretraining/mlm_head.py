"""From final-norm vectors to logits of text ids: three forms among which the paper leaves the
choice.

Each ends in one matrix as large as the vocabulary. `last_layer` tells it apart, for a loss that
never holds all logits.
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
    tied: the word table is the matrix (BERT).
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
    """Logits by the words' own vectors, which the caller lends."""

    def __init__(self, vocab_size: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocab_size))


def last_layer(head: nn.Module, x: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The head without its last matrix.

    Args:
        head: as made by `mlm_head`.
        x: [n, embed_dim].
        words: the word table, [vocab, embed_dim].

    Returns:
        What the matrix is applied to [n, embed_dim], the matrix [vocab, embed_dim], and its bias [vocab].
    """
    if isinstance(head, WordTable):
        return x, words, head.bias
    last = head[-1] if isinstance(head, nn.Sequential) else head
    return head[:-1](x) if isinstance(head, nn.Sequential) else x, last.weight, last.bias
