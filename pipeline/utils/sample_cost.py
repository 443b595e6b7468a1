"""What a training sample costs: what the cost modules of tasks and of pretraining share."""

from dataclasses import dataclass

from pipeline.utils.flops import Pass


@dataclass(frozen=True)
class SampleCost:
    """What one sample of a stream takes in a training step."""

    batch: int  # samples of a step, on all workers
    forward_flops: float
    passes: tuple[Pass, ...] = ()  # through the backbone
    head_bytes: float = 0.0  # that the heads keep for the backward pass
    loss_bytes: float = 0.0  # that the loss takes for a moment, of the whole micro-batch
    extra_flops: float = 0.0  # computed on top, without a backward pass
    shared_bytes: float = 0.0  # on each worker, whatever the size of the micro-batch


@dataclass(frozen=True)
class EvaluationCost:
    """What an evaluation computes."""

    description: str  # of what is counted: "5,000 images, 25,000 captions"
    flops: float
    batch_bytes: float  # that a batch takes in a forward pass, beside the weights
