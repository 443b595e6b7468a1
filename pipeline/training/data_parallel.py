"""A model on all workers of a run: replicated (DDP) or sharded (FSDP2).

With either wrapper the loop trains `module`, and `task.model` has the full weights where worker 0
evaluates or saves them. Both average gradients over the workers. Batch norms synchronize their
statistics between workers on CUDA; torch has no such batch norm for CPUs, where each worker uses
the statistics of its own samples.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.training import collectives

ParallelKind = Literal["ddp", "fsdp2"]


def wrap(model: nn.Module, kind: ParallelKind, device: torch.device) -> "WrappedModel":
    """The model on this worker's device; a single worker never shards."""
    if device.type == "cuda" and collectives.world_size() > 1:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if kind == "fsdp2" and collectives.world_size() > 1:
        return FSDPModel(model, device)
    return DDPModel(model.to(device))


class DDPModel:
    """The full model on every worker.

    Attributes:
        model: the module itself, whose parameters have their own names.
        module: what a forward pass goes through: `model`, or DDP around it.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.module = model
        if collectives.world_size() > 1:
            # the bucket view saves a copy after the all-reduce
            self.module = DistributedDataParallel(model, gradient_as_bucket_view=True)

    def no_sync(self) -> AbstractContextManager[None]:
        """Forward and backward passes in it accumulate gradients without an all-reduce."""
        if isinstance(self.module, DistributedDataParallel):
            return self.module.no_sync()
        return nullcontext()

    def full_params(self, model: nn.Module) -> AbstractContextManager[None]:
        """In it `model`, the task's, has the current weights on worker 0; with DDP it always
        has."""
        return nullcontext()

    def state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The state dicts `model` and `optimizer` of a checkpoint."""
        return {"model": self.model.state_dict(), "optimizer": optimizer.state_dict()}

    def restore(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Load what `state` returned, on every worker."""
        self.model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])


class FSDPModel:
    """A shard of weights, gradients and optimizer state on each worker, which gathers a block's
    weights to use them.

    For models whose replicas do not fit. `model` and `module` are the same sharded copy; the task's
    model keeps full weights in CPU memory, for worker 0 to evaluate.
    """

    def __init__(self, model: nn.Module, device: torch.device):
        from torch.distributed.fsdp import fully_shard

        self.device = device
        self.model = deepcopy(model).to(device)
        for block in self.model.get_submodule("backbone.blocks").children():
            fully_shard(block)
        fully_shard(self.model)
        self.module: Any = self.model  # with the methods that FSDP has added

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Forward and backward passes in it accumulate gradients without a reduce-scatter."""
        self.module.set_requires_gradient_sync(False)
        yield
        self.module.set_requires_gradient_sync(True)

    @contextmanager
    def full_params(self, model: nn.Module) -> Iterator[None]:
        """In it `model`, the task's, has the current weights on worker 0, on its device. All
        workers enter it."""
        from torch.distributed.checkpoint.state_dict import get_model_state_dict

        state = get_model_state_dict(self.module, options=_full_state())
        if collectives.rank() == 0:
            model.load_state_dict(state)
            model.to(self.device)
        yield
        model.cpu()

    def state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The full state dicts `model` and `optimizer` of a checkpoint, on worker 0. All workers
        call this."""
        from torch.distributed.checkpoint.state_dict import get_state_dict

        model, optim = get_state_dict(self.module, optimizer, options=_full_state())
        return {"model": model, "optimizer": optim}

    def restore(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Load what `state` returned; every worker takes its shard of it."""
        from torch.distributed.checkpoint.state_dict import set_state_dict

        set_state_dict(
            self.module,
            optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
            options=_full_state(),
        )


WrappedModel = DDPModel | FSDPModel


def _full_state() -> Any:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=True)
