"""The same training function in this process or on Ray Train workers."""

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

Entry = Callable[[Any], None]
DIED = "WorkerHealthCheckFailedError"  # what Ray makes of a worker that is gone
PATIENCE = (
    4 * 3600
)  # seconds that workers wait for worker 0 while it evaluates; torch's 10 to 30 minutes are too few
PASSED_ON = (
    "PYTHONPATH",
    "OMP_NUM_THREADS",
    "DVC_ROOT",
    "DVC_STAGE",
    "MLFLOW_TRACKING_URI",
)  # to a cluster's workers


def launch(entry: Entry, config: Any, *, num_workers: int, threads: int) -> None:
    """Call `entry(config)` in this process (`num_workers` 0) or in each of `num_workers` Ray
    workers.

    `entry` is a module-level function; `config` is plain data. Every worker runs `threads` torch
    threads in the driver's working directory (on a cluster: a shared one), has `torch.distributed`
    initialised, and one GPU, the current CUDA device, where there are GPUs. What worker 0 writes to
    stderr appears on the driver's. A failed or killed worker ends the stage; whoever runs it again
    resumes from the checkpoint that the function keeps.

    Raises:
        UserError: as raised by `entry` in any worker, or one line on what became of the workers.
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

    work = Path(".work")
    work.mkdir(exist_ok=True)
    storage = Path(tempfile.mkdtemp(prefix="ray-", dir=work)).resolve()
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
        with _followed(log):
            TorchTrainer(
                _work,
                train_loop_config=arguments,
                scaling_config=scaling,
                torch_config=TorchConfig(timeout_s=PATIENCE),
                run_config=RunConfig(name="train", storage_path=str(storage)),
            ).fit()
    except (TrainingFailedError, RayError) as error:
        raise _readable(error) from None
    finally:
        ray.shutdown()
        shutil.rmtree(storage, ignore_errors=True)


def _work(arguments: dict[str, Any]) -> None:
    """What each Ray worker runs."""
    import torch
    import torch.distributed as dist
    from ray.train.torch import get_device

    if torch.cuda.is_available():
        torch.cuda.set_device(get_device())  # a worker sees all GPUs of its node
    os.chdir(arguments["folder"])
    torch.set_num_threads(arguments["threads"])
    with (
        open(arguments["log"], "a", buffering=1)
        if dist.get_rank() == 0
        else nullcontext(sys.stderr) as sys.stderr
    ):
        arguments["entry"](arguments["config"])


@contextmanager
def _followed(log: Path) -> Iterator[None]:
    """Meanwhile print what worker 0 writes to its log. Ray's own forwarding brings pages of Ray's
    own messages."""
    done = threading.Event()

    def follow() -> None:
        log.touch()
        with open(log, encoding="utf-8") as lines:
            while not done.wait(0.2):
                sys.stderr.write(lines.read())
            sys.stderr.write(lines.read())

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _environment(threads: int) -> dict[str, str]:
    """Settings that workers of a local cluster inherit: they import this checkout, and Ray keeps
    quiet."""
    checkout = str(Path(__file__).resolve().parents[2])
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": str(
            threads
        ),  # Ray sets it to 1 otherwise, and thread pools are sized at import
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

    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if os.environ.get("RAY_ADDRESS"):
        variables = {
            name: value
            for name, value in os.environ.items()
            if name in PASSED_ON or name.startswith("NCCL_")
        }
        ray.init(runtime_env={"env_vars": variables}, **quiet)
    else:
        ray.init(num_cpus=num_workers, include_dashboard=False, **quiet)


def _scaling(num_workers: int, cluster: Mapping[str, float]) -> Any:
    """A GPU for each worker where the cluster has GPUs, else a CPU. Ray would wait for missing ones
    without a word."""
    from ray.train import ScalingConfig

    kind = "GPU" if cluster.get("GPU") else "CPU"
    if (there := int(cluster.get(kind, 0))) < num_workers:
        raise UserError(
            f"num_workers {num_workers}: the Ray cluster has {there} {kind}s; "
            "lower num_workers, or add nodes"
        )
    return ScalingConfig(
        num_workers=num_workers, use_gpu=kind == "GPU", resources_per_worker={"CPU": 1, kind: 1}
    )


def _readable(error: Exception) -> UserError:
    """The UserError of a worker if there is one, else one line on the first failure."""
    failures = getattr(error, "worker_failures", {})
    for failure in failures.values():
        if isinstance(failure, UserError):
            return failure
    for rank, failure in sorted(failures.items()):
        if type(failure).__name__ != DIED:
            return UserError(f"training worker {rank}: {type(failure).__name__}: {_line(failure)}")
    return UserError(
        "training: a worker was killed; run the stage again, it resumes from its last checkpoint"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
