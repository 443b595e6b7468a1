"""What `test_data_parallel` runs on several workers, which import this module."""

from dataclasses import replace

import torch
import torch.distributed as dist

from pipeline.data.loading.sampler import MicroBatch
from pipeline.tracking.client import Run
from pipeline.training import data_parallel
from pipeline.training.loop import LoopParams, train
from pipeline.training.optim import OptimParams
from pipeline.training.step import backward
from tests.helpers.toy import TOYS, MaskedToy

CPU = torch.device("cpu")
OPTIM = OptimParams(
    steps=4,
    lr=1e-2,
    min_lr=1e-4,
    warmup_steps=1,
    schedule="cosine",
    weight_decay=0.05,
    betas=[0.9, 0.999],
    eps=1e-8,
    max_grad_norm=3.0,
    head_lr_mult=1.0,
    layer_decay=1.0,
)
LOOP = LoopParams(
    precision="fp32",
    gradient_accumulation=4,
    parallel="fsdp2",
    activation_checkpointing=True,
    loader_workers=0,
    log_every=1,
    evaluate_every=2,
    checkpoint_every=2,
    max_nonfinite_steps=2,
)


def gradients(toy, micro_batches, kind="ddp", checkpointing=False, compiled=False):
    """Losses and full gradients of the first step; each worker has that many micro-batches."""
    task = toy()
    if checkpointing:
        task.model.backbone.set_grad_checkpointing()
    wrapped = data_parallel.wrap(task.model, kind, CPU)
    if compiled:
        wrapped.model.backbone.compile_blocks(backend="eager", fullgraph=True)
    wrapped.module.train()
    world_size, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    batches = [
        task.batches[MicroBatch(0, rank * micro_batches + index, world_size * micro_batches)]
        for index in range(micro_batches)
    ]
    values = backward(task, wrapped, batches, "fp32")
    grads = {
        name: getattr(p.grad, "full_tensor", lambda grad=p.grad: grad)()
        for name, p in wrapped.model.named_parameters()
        if p.requires_grad
    }
    return {"values": {name: value.item() for name, value in values.items()}, "grads": grads}


def in_group(rank, world_size, rendezvous, work, *arguments):
    """Run a function of this module as worker `rank` of a process group."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size
    )
    globals()[work](rank, *arguments)
    dist.destroy_process_group()


def compare(rank, out):
    """Write the full gradients of all tasks into `out`."""
    for toy in TOYS:
        for micro_batches in (1, 2):
            result = gradients(toy, micro_batches)
            if rank == 0:
                torch.save(result, out / f"{toy.__name__}-{dist.get_world_size()}-{micro_batches}")


def shard(rank, out):
    """Write gradients with FSDP, of one task with compiled blocks; then train four steps with DDP,
    with FSDP, and with FSDP in two runs of which the second resumes."""
    for toy in TOYS:
        result = gradients(toy, 2, "fsdp2", checkpointing=True, compiled=toy is MaskedToy)
        if rank == 0:
            torch.save(result, out / f"{toy.__name__}-fsdp2")
    for name, loop in (("ddp", replace(LOOP, parallel="ddp")), ("fsdp2", LOOP)):
        _train(4, loop, out / name)
    _train(2, LOOP, out / "resumed")
    _train(4, LOOP, out / "resumed")


def _train(steps, loop, folder):
    folder.mkdir(exist_ok=True)
    task = MaskedToy()
    train(task, replace(OPTIM, steps=steps), loop, folder, Run(None))
    if dist.get_rank() == 0:
        torch.save(task.model.state_dict(), folder / "model")
