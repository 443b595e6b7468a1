"""The same training function in this process or on Ray Train workers."""

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

Entry = Callable[[Any], None]
WORKER_DIED = "WorkerHealthCheckFailedError"  # Ray's class of error for a worker that was killed
# Seconds that workers wait in a collective while worker 0 evaluates; torch's 10 to 30 minutes are
# too few.
COLLECTIVE_TIMEOUT = 4 * 3600
# Environment variables that workers on a cluster get from the driver.
WORKER_ENV = ("PYTHONPATH", "OMP_NUM_THREADS", "DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI")


def launch(entry: Entry, config: Any, *, num_workers: int, threads: int) -> None:
    """Call `entry(config)` in this process (`num_workers` 0) or in each of `num_workers` Ray
    workers.

    Every worker runs in the driver's working directory (on a cluster: a shared one) with
    `torch.distributed` initialized and, where there are GPUs, one GPU as its current CUDA device.
    Worker 0's stderr appears on the driver's. A failed or killed worker ends the stage; the next
    attempt resumes from the checkpoint that `entry` keeps.

    Args:
        entry: a module-level function. config: plain data. threads: torch threads of each worker.

    Raises:
        UserError: as raised by `entry` in any worker, or one line on why the workers failed.
    """
    if num_workers == 0:
        import torch

        torch.set_num_threads(threads)
        entry(config)
    else:
        _on_ray(entry, config, num_workers, threads)


def _on_ray(entry: Entry, config: Any, num_workers: int, threads: int) -> None:
    connect(num_workers, threads)
    import ray
    from ray.exceptions import RayError
    from ray.train import RunConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    Path(".work").mkdir(exist_ok=True)
    storage = Path(tempfile.mkdtemp(prefix="ray-", dir=".work")).resolve()
    try:
        scaling = _scaling(num_workers, ray.cluster_resources())
        log = storage / "log"
        arguments = {
            "entry": entry,
            "config": config,
            "folder": os.getcwd(),
            "threads": threads,
            "log": log,
        }
        with _printed(log):
            TorchTrainer(
                _run_worker,
                train_loop_config=arguments,
                scaling_config=scaling,
                torch_config=TorchConfig(timeout_s=COLLECTIVE_TIMEOUT),
                run_config=RunConfig(name="train", storage_path=str(storage)),
            ).fit()
    except (TrainingFailedError, RayError) as error:
        raise _user_error(error) from None
    finally:
        ray.shutdown()
        shutil.rmtree(storage, ignore_errors=True)


def _run_worker(arguments: dict[str, Any]) -> None:
    """Set up a Ray worker and call the training function."""
    import torch
    import torch.distributed as dist
    from ray.train.torch import get_device

    if torch.cuda.is_available():
        torch.cuda.set_device(get_device())  # a worker sees all GPUs of its node
    os.chdir(arguments["folder"])
    torch.set_num_threads(arguments["threads"])
    entry, config = arguments["entry"], arguments["config"]
    if dist.get_rank() > 0:
        entry(config)
        return
    with open(arguments["log"], "a", buffering=1) as log, redirect_stderr(log):
        entry(config)


@contextmanager
def _printed(log: Path) -> Iterator[None]:
    """Print on stderr what worker 0 appends to its log. Ray's forwarding would bring pages of Ray's
    messages along."""
    done = threading.Event()

    def tail() -> None:
        log.touch()
        with open(log, encoding="utf-8") as lines:
            while not done.wait(0.2):
                sys.stderr.write(lines.read())
            sys.stderr.write(lines.read())

    thread = threading.Thread(target=tail)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _environment(threads: int) -> dict[str, str]:
    """Environment variables for Ray and the workers of a local cluster, which import this
    checkout."""
    checkout = str(Path(__file__).resolve().parents[2])
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH")])),
        # Ray sets it to 1 otherwise, and thread pools are sized at import
        "OMP_NUM_THREADS": str(threads),
        "RAY_TRAIN_V2_ENABLED": "1",
        # the default waits seconds at the start and at the end
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


def connect(num_workers: int, threads: int) -> None:
    """Join the cluster at RAY_ADDRESS, or start one that has a CPU for each worker."""
    os.environ |= _environment(threads)  # before the import: Ray reads most of it once
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if os.environ.get("RAY_ADDRESS"):
        names = [name for name in os.environ if name in WORKER_ENV or name.startswith("NCCL_")]
        variables = {name: os.environ[name] for name in names}
        ray.init(runtime_env={"env_vars": variables}, **quiet)
    else:
        ray.init(num_cpus=num_workers, include_dashboard=False, **quiet)


def _scaling(num_workers: int, cluster: Mapping[str, float]) -> Any:
    """A GPU for each worker where the cluster has GPUs, else a CPU.

    `cluster` maps Ray's resource names to amounts. Ray would wait for missing ones for ever.
    """
    from ray.train import ScalingConfig

    device = "GPU" if cluster.get("GPU") else "CPU"
    available = int(cluster.get(device, 0))
    if available < num_workers:
        raise UserError(
            f"num_workers {num_workers}: the Ray cluster has {available} {device}s; "
            "lower num_workers, or add nodes"
        )
    return ScalingConfig(
        num_workers=num_workers, use_gpu=device == "GPU", resources_per_worker={"CPU": 1, device: 1}
    )


def _user_error(error: Exception) -> UserError:
    """The UserError of a worker if there is one, else one line on the first failure."""
    failures = getattr(error, "worker_failures", {})
    for failure in failures.values():
        if isinstance(failure, UserError):
            return failure
    for rank, failure in sorted(failures.items()):
        if type(failure).__name__ != WORKER_DIED:
            line = " ".join(str(failure).split())[:300]
            return UserError(f"training worker {rank}: {type(failure).__name__}: {line}")
    return UserError(
        "training: a worker was killed; run the stage again, it resumes from its last checkpoint"
    )
