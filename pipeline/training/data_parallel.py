"""A model on the step's workers: a replica on each (DDP), or its weights cut into shards (FSDP2).

Either way the loop trains `module`, and `task.model` has the whole weights where worker 0 evaluates
or saves them. Both average gradients over the workers. Batch norms share their statistics between
workers on CUDA; torch has that nowhere else, and there a worker's rows stand for all.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.training import collectives

Kind = Literal["ddp", "fsdp2"]


def wrap(model: nn.Module, kind: Kind, device: torch.device) -> "Replicas | Shards":
    """The model on this worker; `fsdp2` has no meaning in a process without others."""
    if device.type == "cuda" and collectives.world() > 1:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if kind == "fsdp2" and collectives.world() > 1:
        return Shards(model, device)
    return Replicas(model.to(device))


class Replicas:
    """The whole model on every worker."""

    def __init__(self, model: nn.Module):
        self.model = model  # with the names of the parameters
        self.module = model
        if collectives.world() > 1:
            self.module = DistributedDataParallel(
                model, gradient_as_bucket_view=True
            )  # no copy after the exchange

    def pass_of_step(self, *, last: bool) -> AbstractContextManager[None]:
        """For a forward and a backward: gradients are exchanged after the last pass of a step."""
        return nullcontext() if last or self.module is self.model else self.module.no_sync()

    def whole(self, model: nn.Module) -> AbstractContextManager[None]:
        """Meanwhile `task.model` has the weights on worker 0: always, here."""
        return nullcontext()

    def state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Weights and optimiser as worker 0 saves them."""
        return {"model": self.model.state_dict(), "optimizer": optimizer.state_dict()}

    def restore(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """The inverse of `state`, on every worker."""
        self.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])


class Shards:
    """Each worker holds its share of weights, gradients and optimiser, and gathers a block's
    weights to use them.

    For models whose replicas do not fit. The whole weights stay in CPU memory, for worker 0 to
    evaluate.
    """

    def __init__(self, model: nn.Module, device: torch.device):
        from torch.distributed.fsdp import fully_shard

        self.device = device
        self.model = self.module = deepcopy(model).to(device)
        for block in self.module.backbone.blocks:
            fully_shard(block)
        fully_shard(self.module)

    def pass_of_step(self, *, last: bool) -> AbstractContextManager[None]:
        """As for replicas."""
        self.module.set_requires_gradient_sync(last)
        return nullcontext()

    @contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """Meanwhile `task.model` has the weights on worker 0, on its device. All workers enter
        this."""
        from torch.distributed.checkpoint.state_dict import get_model_state_dict

        state = get_model_state_dict(self.module, options=_whole())
        if collectives.rank() == 0:
            model.load_state_dict(state)
            model.to(self.device)
        yield
        model.cpu()

    def state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Weights and optimiser, whole, on worker 0. All workers call this."""
        from torch.distributed.checkpoint.state_dict import get_state_dict

        model, optim = get_state_dict(self.module, optimizer, options=_whole())
        return {"model": model, "optimizer": optim}

    def restore(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """The inverse of `state`; every worker takes its shards out of the whole."""
        from torch.distributed.checkpoint.state_dict import set_state_dict

        set_state_dict(
            self.module,
            optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
            options=_whole(),
        )


def _whole() -> Any:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=True)
