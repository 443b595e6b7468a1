"""Loss and accuracy of one kind of masked prediction, and how far one kind is ahead of another."""

import torch
import torch.nn.functional as F
from torch import Tensor

from model.pretraining.batches import ImageBatch, TextBatch


class Score:
    """Losses and hits at the masked positions of some batches."""

    def __init__(self) -> None:
        self.classes, self.samples = 0, 0
        self._targets: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._sample_of: list[Tensor] = []  # which sample each target is of
        self._hits: list[Tensor] = []

    def add(self, logits: Tensor, predicted: TextBatch | ImageBatch) -> None:
        """Logits [n, classes] at the masked positions of a batch."""
        assert predicted.targets is not None, "stored views have tokens"
        grid = predicted.ids if isinstance(predicted, TextBatch) else predicted.masked
        self.classes = logits.shape[1]
        self._targets.append(predicted.targets.cpu())
        self._hits.append((logits.argmax(dim=1) == predicted.targets).double().cpu())
        losses = F.cross_entropy(logits.float(), predicted.targets, reduction="none")
        self._losses.append(losses.double().cpu())
        self._sample_of.append((self.samples + predicted.masked_positions // grid.shape[1]).cpu())
        self.samples += grid.shape[0]

    def metrics(self, name: str) -> dict[str, float]:
        """Loss (nats) and accuracy (0..1)."""
        return {f"{name}_loss": _mean(self._losses), f"{name}_accuracy": _mean(self._hits)}

    def references(self, name: str) -> dict[str, float]:
        """How many targets there are, and how often two guesses would be right."""
        targets = torch.cat(self._targets)
        return {
            f"{name}_chance": 1 / self.classes,
            f"{name}_count": float(len(targets)),
            f"{name}_frequent": targets.bincount().max().item() / len(targets),
        }

    def gain(self, other: "Score", name: str) -> dict[str, float]:
        """How far these predictions are ahead of others of the same targets: in accuracy (0..1) and
        in nats, each with its standard error. A sample's targets are not independent of each other,
        so the error is that of samples."""
        hits, losses = torch.cat(self._hits), torch.cat(self._losses)
        sample_of = torch.cat(self._sample_of)
        gain, error = _of_samples(hits - torch.cat(other._hits), sample_of)
        nats, nats_error = _of_samples(torch.cat(other._losses) - losses, sample_of)
        return {
            f"{name}_gain": gain,
            f"{name}_gain_error": error,
            f"{name}_gain_nats": nats,
            f"{name}_gain_nats_error": nats_error,
        }


def _mean(parts: list[Tensor]) -> float:
    return torch.cat(parts).mean().item()


def _of_samples(values: Tensor, sample_of: Tensor) -> tuple[float, float]:
    """The mean of values [n], and its standard error where those of a sample belong together."""
    mean = values.mean()
    sums = torch.zeros(int(sample_of.max()) + 1, dtype=values.dtype)
    sums.index_add_(0, sample_of, values - mean)
    return mean.item(), (sums.square().sum().sqrt() / len(values)).item()
