"""The same training function in this process or on Ray Train workers."""

import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import IO, Any

from pipeline.errors import UserError
from pipeline.orchestration import contained
from pipeline.utils import machine_errors, workdir
from pipeline.utils.machine_errors import PEER_LOST

Entry = Callable[[Any], None]
KILLED = "training: a worker was killed; run the stage again, it resumes from its last checkpoint"
WORKER_DIED = "WorkerHealthCheckFailedError"  # Ray's class of error for a worker that was killed
# Seconds that workers wait in a collective while worker 0 evaluates; torch's 10 to 30 minutes are
# too few.
COLLECTIVE_TIMEOUT = 4 * 3600
START_TIMEOUT = 600  # seconds for Ray to start, and for all workers, once there is room for them
CONNECT_TIMEOUT = 60  # seconds for a cluster to answer
# Seconds that a worker which lost another one keeps its own error back, so that Ray hears first of
# the one that ended, and why.
PEER_LOST_DELAY = 5
# Environment variables that workers on a cluster get from the driver.
WORKER_ENV = (
    "PYTHONPATH",
    "OMP_NUM_THREADS",
    "DVC_EXP_NAME",
    "DVC_ROOT",
    "DVC_STAGE",
    "MLFLOW_TRACKING_URI",
)


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
    check_cluster(threads)
    log_of_ray = _log()
    storage = Path(tempfile.mkdtemp(prefix="ray-", dir=log_of_ray.parent))
    log = storage / "log"
    log.touch()
    try:
        with open(log, encoding="utf-8", errors="replace") as lines:
            # Ray's forwarding would bring pages of Ray's messages along
            contained.run(
                _drive,
                entry,
                config,
                num_workers,
                threads,
                storage,
                log=log_of_ray,
                ended_early="Ray ended, or was ended, before the training; run the stage again, it "
                "resumes from its last checkpoint (.work/ray.log has Ray's messages)",
                meanwhile=lambda: _print_rest(lines),
            )
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def _log() -> Path:
    """A file for Ray's messages."""
    work = workdir.root()
    work.mkdir(exist_ok=True)
    return work / "ray.log"


def _print_rest(lines: IO[str]) -> None:
    """Print on stderr what has been appended to a file."""
    sys.stderr.write(lines.read())
    sys.stderr.flush()


def _drive(entry: Entry, config: Any, num_workers: int, threads: int, storage: Path) -> None:
    """Ray's driver; `storage` is a folder that all workers share."""
    signal.alarm(START_TIMEOUT)  # ends this process: Ray's C++ may wait for ever
    with connected(num_workers, threads):
        signal.alarm(0)
        import ray
        from ray.exceptions import RayError
        from ray.train import FailureConfig, RunConfig, TrainingFailedError
        from ray.train.torch import TorchConfig, TorchTrainer

        scaling = _scaling(num_workers, ray.cluster_resources())
        arguments = {
            "entry": entry,
            "config": config,
            "folder": os.getcwd(),
            "threads": threads,
            "log": storage / "log",
        }
        try:
            TorchTrainer(
                _run_worker,
                train_loop_config=arguments,
                scaling_config=scaling,
                torch_config=TorchConfig(timeout_s=COLLECTIVE_TIMEOUT),
                run_config=RunConfig(
                    name="train",
                    storage_path=str(storage),
                    # Ray tries for ever else, as where its storage is full or nodes are taken
                    failure_config=FailureConfig(controller_failure_limit=0),  # type: ignore[call-arg]
                ),
            ).fit()
        except (TrainingFailedError, RayError) as error:
            raise _user_error(error) from None


def _run_worker(arguments: dict[str, Any]) -> None:
    """Set up a Ray worker and call the training function.

    Raises:
        UserError: as raised by the function, or what the machine did to it, in one line.
    """
    import torch
    import torch.distributed as dist
    from ray.train.torch import get_device

    if torch.cuda.is_available():
        torch.cuda.set_device(get_device())  # a worker sees all GPUs of its node
    os.chdir(arguments["folder"])
    torch.set_num_threads(arguments["threads"])
    entry, config = arguments["entry"], arguments["config"]
    with open(arguments["log"], "a", buffering=1) as log:
        try:
            with redirect_stderr(log) if dist.get_rank() == 0 else nullcontext():
                entry(config)
        except Exception as error:
            line = machine_errors.explain(error)
            if line is None:
                traceback.print_exc(file=log)
                raise
            if line == PEER_LOST:
                time.sleep(PEER_LOST_DELAY)
            raise UserError(line) from None


def _environment(threads: int) -> dict[str, str]:
    """Environment variables for Ray and the workers of a local cluster, which import this
    checkout."""
    checkout = str(Path(__file__).resolve().parents[2])
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH")])),
        # Ray sets it to 1 otherwise, and thread pools are sized at import
        "OMP_NUM_THREADS": str(threads),
        "RAY_TRAIN_V2_ENABLED": "1",
        # by default workers have a niceness of 15, and starve beside another stage
        "RAY_worker_niceness": "0",
        # the default waits seconds at the start and at the end
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(START_TIMEOUT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


def check_cluster(threads: int) -> None:
    """Join the cluster at RAY_ADDRESS, if that is set, and leave it: Ray itself would try for a
    quarter of an hour and then end the process.

    Raises:
        UserError: it does not answer.
    """
    if address := os.environ.get("RAY_ADDRESS"):
        line = (
            f"RAY_ADDRESS {address}: no Ray cluster has answered, or its token is another (see "
            "docs/cluster.md; .work/ray.log has Ray's messages); start it, or unset RAY_ADDRESS "
            "for one on this machine"
        )
        contained.run(
            _join_and_leave, threads, line, log=_log(), limit=CONNECT_TIMEOUT, ended_early=line
        )


def _join_and_leave(threads: int, line: str) -> None:
    """Raises UserError with that line where Ray gives up by itself."""
    try:
        with connected(1, threads):
            pass
    except ConnectionError:
        print(traceback.format_exc(), file=sys.stderr)  # for the log
        raise UserError(line) from None


@contextmanager
def connected(num_workers: int, threads: int) -> Iterator[None]:
    """In the cluster at RAY_ADDRESS, or in one of its own that has a CPU for each worker."""
    os.environ |= _environment(threads)  # before the import: Ray reads most of it once
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if os.environ.get("RAY_ADDRESS"):
            names = [name for name in os.environ if name in WORKER_ENV or name.startswith("NCCL_")]
            variables = {name: os.environ[name] for name in names}
            ray.init(runtime_env={"env_vars": variables}, **quiet)
        else:
            # "local": not the cluster that somebody else has started on this machine
            ray.init("local", num_cpus=num_workers, include_dashboard=False, **quiet)
        yield
    finally:
        ray.shutdown()


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
    """The UserError of a worker if there is one, else one line on the first failure. Workers that
    only lost another one come last."""
    failures = getattr(error, "worker_failures", {})
    ranks = sorted(failures, key=lambda rank: (str(failures[rank]) == PEER_LOST, rank))
    for rank in ranks:
        if isinstance(failures[rank], UserError):
            return failures[rank]
    for rank in ranks:
        kind = type(failures[rank]).__name__
        if kind != WORKER_DIED:
            line = " ".join(str(failures[rank]).split())[:300]
            return UserError(f"training worker {rank}: {kind}: {line}")
    line = " ".join(str(error).split())[:300]
    if failures or " died" in line:  # before or after its training function began
        return UserError(KILLED)
    return UserError(f"training: the workers could not be started: {line}")
