"""The codebook of VQ-KD: unit vectors that follow the inputs assigned to them (BEiTv2 §2.1,
`norm_ema_quantizer`).

Notable: no gradient reaches the codebook; it starts from k-means over the first batch of all
workers, computed on one worker and broadcast, so that every worker has the same codebook; a vector
that no input was assigned to keeps its value.
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

KMEANS_ITERATIONS = 10  # BEiTv2
REPEAT_NOISE = 0.01  # parts codebook vectors that start from the same input (choice)


class Quantized(NamedTuple):
    """A batch of inputs and the codebook vectors that they are assigned to."""

    straight_through: Tensor  # [n, dim], the codebook vectors in value, the inputs in gradient
    inputs: Tensor  # [n, dim], normalized
    quantized: Tensor  # [n, dim], the codebook vectors, no gradient
    token_ids: Tensor  # int64 [n], indices of the codebook vectors


class Codebook(nn.Module):
    """The vectors. Buffers, not parameters: neither optimizer nor weight decay may touch them."""

    weight: Tensor  # [codebook_size, dim], unit vectors once initted
    initted: Tensor  # [1], 1 when the vectors mean something
    waited: Tensor  # [1], training batches that passed before that

    def __init__(self, codebook_size: int, dim: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(codebook_size, dim))
        self.register_buffer("initted", torch.zeros(1))
        self.register_buffer("waited", torch.zeros(1))


class Quantizer(nn.Module):
    """Nearest codebook vector by cosine, straight-through gradient, moving-average update of the
    codebook while training.

    For the first `codebook_start_step` training batches inputs pass unquantized. BEiTv2 starts the
    codebook at the first batch (0) and trains long enough; in a short training the encoder moves
    away from vectors that were set before it had learned anything, and most of them are never used
    again (choice).
    """

    def __init__(self, codebook_size: int, dim: int, ema_decay: float, codebook_start_step: int):
        super().__init__()
        self.ema_decay, self.codebook_start_step = ema_decay, codebook_start_step
        self.embedding = Codebook(codebook_size, dim)

    def token_ids(self, inputs: Tensor) -> Tensor:
        """float32 [n, dim], of any length, to the indices of the nearest codebook vectors, int64
        [n]. Ties go to the lower index. The largest product is the smallest distance, since the
        codebook vectors are of length one."""
        return (F.normalize(inputs, dim=-1) @ self.embedding.weight.T).argmax(dim=-1)

    def forward(self, inputs: Tensor) -> Quantized:
        """Quantize float32 [n, dim]; in training mode the codebook then moves towards these
        inputs."""
        inputs = F.normalize(inputs, dim=-1)
        if self.training and not self.embedding.initted:
            if self.embedding.waited < self.codebook_start_step:
                self.embedding.waited += 1
                return Quantized(inputs, inputs, inputs.detach(), self.token_ids(inputs.detach()))
            self.start(inputs.detach())
        token_ids = self.token_ids(inputs.detach())
        quantized = self.embedding.weight[token_ids]
        if self.training:
            self.update(inputs.detach(), token_ids)
        straight_through = inputs + (quantized - inputs).detach()
        return Quantized(straight_through, inputs, quantized, token_ids)

    @torch.no_grad()
    def start(self, inputs: Tensor) -> None:
        """Set the codebook by k-means over the unit vectors [n, dim] of all workers; n must be the
        same on each."""
        inputs = _all_gather(inputs)
        if not _distributed() or dist.get_rank() == 0:
            self.embedding.weight.copy_(kmeans(inputs, len(self.embedding.weight)))
        if _distributed():
            dist.broadcast(self.embedding.weight, src=0)
        self.embedding.initted.fill_(1)

    @torch.no_grad()
    def update(self, inputs: Tensor, token_ids: Tensor) -> None:
        """vector := normalize(ema_decay * vector + (1 - ema_decay) * normalize(mean of the inputs
        assigned to it)), over workers."""
        weight = self.embedding.weight
        sums, counts = _sums(inputs, token_ids, len(weight))
        if _distributed():
            dist.all_reduce(sums)
            dist.all_reduce(counts)
        means = F.normalize(sums, dim=-1)  # a sum points where its mean does
        moved = F.normalize(self.ema_decay * weight + (1 - self.ema_decay) * means, dim=-1)
        # inputs that are no finite numbers, of a step that is skipped, move nothing
        moves = (counts > 0) & moved.isfinite().all(dim=1)
        weight.copy_(torch.where(moves[:, None], moved, weight))


def kmeans(inputs: Tensor, clusters: int) -> Tensor:
    """Spherical k-means: unit vectors [n, dim] to unit centers [clusters, dim].

    Centers start at distinct inputs, drawn by a fixed seed. Where there are fewer inputs than
    clusters, some start twice and are parted by a little noise; an empty cluster keeps its center.
    """
    generator = torch.Generator().manual_seed(0)
    repeats = -(-clusters // len(inputs))
    starts = torch.randperm(len(inputs), generator=generator).repeat(repeats)[:clusters]
    noise = torch.randn(clusters, inputs.shape[1], generator=generator) * REPEAT_NOISE
    noise[: len(inputs)] = 0
    centers = F.normalize(inputs[starts.to(inputs.device)] + noise.to(inputs), dim=-1)
    for _ in range(KMEANS_ITERATIONS):
        sums, counts = _sums(inputs, (inputs @ centers.T).argmax(dim=-1), clusters)
        centers = torch.where(counts[:, None] > 0, F.normalize(sums, dim=-1), centers)
    return centers


def _sums(inputs: Tensor, assigned: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Sum [clusters, dim] and number [clusters] of the inputs [n, dim] assigned to each."""
    sums = inputs.new_zeros(clusters, inputs.shape[1]).index_add_(0, assigned, inputs)
    return sums, torch.bincount(assigned, minlength=clusters).to(inputs.dtype)


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def _all_gather(inputs: Tensor) -> Tensor:
    """The inputs of all workers in rank order, [workers * n, dim]."""
    if not _distributed():
        return inputs
    parts = [torch.empty_like(inputs) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, inputs.contiguous())
    return torch.cat(parts)
