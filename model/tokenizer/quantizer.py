"""The codebook of VQ-KD: unit vectors that follow the inputs assigned to them (BEiTv2 §2.1,
`norm_ema_quantizer`).

Notable: no gradient reaches the codebook; it starts from k-means over the first batch of all
workers, computed on one worker and broadcast, so that every worker has the same codes; a code that
no input chose keeps its value.
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

KMEANS_ITERATIONS = 10  # BEiTv2
REPEAT_NOISE = 0.01  # parts codes that start from the same token (choice)


class Quantized(NamedTuple):
    """Codes for a batch of inputs."""

    straight: Tensor  # [n, dim], the codes in value, the inputs in gradient (straight-through)
    inputs: Tensor  # [n, dim], the normalised inputs
    codes: Tensor  # [n, dim], the chosen codes, no gradient
    ids: Tensor  # int64 [n]


class Codebook(nn.Module):
    """The codes. Buffers, not parameters: neither the optimiser nor weight decay may touch them."""

    def __init__(self, codes: int, dim: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(codes, dim))  # unit rows once initted
        self.register_buffer("initted", torch.zeros(1))  # 1 when the codes mean something
        self.register_buffer("waited", torch.zeros(1))  # training batches that passed before that


class Quantizer(nn.Module):
    """Nearest code by cosine, straight-through gradient, moving-average update of the codes while
    training.

    For the first `delay` training batches inputs pass unquantised. BEiTv2 starts the codebook at
    the first batch (delay 0) and trains long enough; in a short training the encoder moves away
    from codes that were set before it had learned anything, and most of them are never used again
    (choice).
    """

    def __init__(self, codes: int, dim: int, decay: float, delay: int):
        super().__init__()
        self.decay, self.delay = decay, delay
        self.embedding = Codebook(codes, dim)

    def ids(self, inputs: Tensor) -> Tensor:
        """float32 [n, dim], of any length, to the nearest codes' numbers, int64 [n]. Ties go to the
        lower number."""
        return (F.normalize(inputs, dim=-1) @ self.embedding.weight.T).argmax(dim=-1)

    def forward(self, inputs: Tensor) -> Quantized:
        """Quantise float32 [n, dim]; in training mode the codebook then moves towards these
        inputs."""
        inputs = F.normalize(inputs, dim=-1)
        if self.training and not self.embedding.initted:
            if self.embedding.waited < self.delay:
                self.embedding.waited += 1
                return Quantized(inputs, inputs, inputs.detach(), self.ids(inputs.detach()))
            self.start(inputs.detach())
        ids = self.ids(inputs.detach())
        codes = self.embedding.weight[ids]
        if self.training:
            self.update(inputs.detach(), ids)
        return Quantized(inputs + (codes - inputs).detach(), inputs, codes, ids)

    @torch.no_grad()
    def start(self, inputs: Tensor) -> None:
        """Set the codes by k-means over the unit vectors [n, dim] of all workers; n must be the
        same on each."""
        inputs = _gather(inputs)
        if not _distributed() or dist.get_rank() == 0:
            self.embedding.weight.copy_(kmeans(inputs, len(self.embedding.weight)))
        if _distributed():
            dist.broadcast(self.embedding.weight, src=0)
        self.embedding.initted.fill_(1)

    @torch.no_grad()
    def update(self, inputs: Tensor, ids: Tensor) -> None:
        """code := normalise(decay * code + (1 - decay) * normalise(mean of the inputs that chose
        it)), over workers."""
        weight = self.embedding.weight
        sums, counts = _sums(inputs, ids, len(weight))
        if _distributed():
            dist.all_reduce(sums)
            dist.all_reduce(counts)
        means = F.normalize(sums, dim=-1)  # a sum points where its mean does
        moved = F.normalize(self.decay * weight + (1 - self.decay) * means, dim=-1)
        weight.copy_(torch.where(counts[:, None] > 0, moved, weight))


def kmeans(inputs: Tensor, codes: int) -> Tensor:
    """Spherical k-means: unit vectors [n, dim] to unit centres [codes, dim].

    Centres start at distinct inputs, chosen by a fixed seed. Where there are fewer inputs than
    codes, some start twice and are parted by a little noise; an empty cluster keeps its centre.
    """
    random = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(inputs), generator=random).repeat(-(-codes // len(inputs)))[:codes]
    noise = torch.randn(codes, inputs.shape[1], generator=random) * REPEAT_NOISE
    noise[: len(inputs)] = 0
    centres = F.normalize(inputs[chosen.to(inputs.device)] + noise.to(inputs), dim=-1)
    for _ in range(KMEANS_ITERATIONS):
        sums, counts = _sums(inputs, (inputs @ centres.T).argmax(dim=-1), codes)
        centres = torch.where(counts[:, None] > 0, F.normalize(sums, dim=-1), centres)
    return centres


def _sums(inputs: Tensor, ids: Tensor, codes: int) -> tuple[Tensor, Tensor]:
    """Sum [codes, dim] and number [codes] of the inputs [n, dim] of each id."""
    sums = inputs.new_zeros(codes, inputs.shape[1]).index_add_(0, ids, inputs)
    return sums, torch.bincount(ids, minlength=codes).to(inputs.dtype)


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def _gather(inputs: Tensor) -> Tensor:
    """The inputs of all workers in rank order, [workers * n, dim]."""
    if not _distributed():
        return inputs
    parts = [torch.empty_like(inputs) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, inputs.contiguous())
    return torch.cat(parts)
