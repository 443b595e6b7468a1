"""Functions that `test_ray_train` runs on workers, in a module that workers can import."""

import os
import signal
from pathlib import Path
from typing import Any

from pipeline.errors import UserError


def note(config: dict[str, Any]) -> None:
    """Add a one on every worker and write what this worker saw."""
    import torch

    total = torch.ones(1)
    rank = 0
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
        rank = torch.distributed.get_rank()
    Path(f"rank{rank}").write_text(f"{total.item():.0f} {torch.get_num_threads()} {config['word']}")


def note_and_refuse(config: dict[str, Any]) -> None:
    """`note`, then a UserError on rank 1 while rank 0 waits for it."""
    import torch

    note(config)
    torch.distributed.barrier()  # the error ends both workers, and rank 0 may not have written yet
    if torch.distributed.get_rank() == 1:
        raise UserError("params.yaml: small.x: expected int")
    torch.distributed.all_reduce(torch.ones(1))


def die(config: dict[str, Any]) -> None:
    """Rank 1 is killed while rank 0 waits for it."""
    import torch

    if torch.distributed.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    torch.distributed.all_reduce(torch.ones(1))
