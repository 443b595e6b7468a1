"""The same function on many arguments: in this process, in a pool of processes, or as tasks of a
Ray cluster."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UserError
from pipeline.orchestration import ray_train


@dataclass(frozen=True)
class PoolParams:
    """Block `<scale>.pool`. workers: processes of this machine, or tasks of the cluster, at a time;
    for visual tokens, threads of each. It changes no output, so no stage depends on it."""

    workers: int


def run(
    function: Callable[..., None], calls: Iterable[tuple], workers: int, *, gpu: bool = False
) -> None:
    """`function(*call)` for every call, in any sequence, `workers` at a time.

    The function is of module level and leaves its result in files, which a cluster's nodes must
    share. `calls` is taken from bit by bit, so that no more than a few calls are in memory. With
    one worker and no cluster all happens in this process; with RAY_ADDRESS set, on the cluster.
    `gpu`: on a cluster with GPUs every call has one to itself, and as many go on at a time as there
    are.

    Raises:
        UserError: as raised by the function; or a worker was killed.
    """
    if os.environ.get("RAY_ADDRESS"):
        _on_ray(function, calls, workers, gpu)
    elif workers == 1:
        for call in calls:
            function(*call)
    else:
        _in_processes(function, calls, workers)


def _in_processes(function: Callable[..., None], calls: Iterable[tuple], workers: int) -> None:
    context = multiprocessing.get_context(
        "spawn"
    )  # a fork would copy the locks of the driver's threads
    with ProcessPoolExecutor(workers, context, initializer=_die_with_the_driver) as pool:
        waiting: set[Future] = set()
        try:
            for call in calls:
                waiting.add(pool.submit(function, *call))
                if len(waiting) > workers:
                    waiting = _taken(waiting)
            while waiting:
                waiting = _taken(waiting)
        except BrokenProcessPool:
            raise UserError(
                "a worker process was killed, perhaps for want of memory; run the stage again with fewer "
                "workers, it goes on where it stopped"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _taken(waiting: set[Future]) -> set[Future]:
    """Wait for some; return the others. An error of a call is raised here."""
    done, others = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return others


def _die_with_the_driver() -> None:
    """Workers of a killed driver would wait for ever, and write beside the workers of the next
    one."""
    driver = multiprocessing.parent_process()

    def watch() -> None:
        driver.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_ray(function: Callable[..., None], calls: Iterable[tuple], workers: int, gpu: bool) -> None:
    import ray
    from ray.exceptions import RayError, RayTaskError

    ray_train.connect(workers, threads=1)
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0)) if gpu else 0
        task = ray.remote(_in_folder).options(num_gpus=min(gpus, 1))
        _on_cluster(ray, task, ((function, os.getcwd(), call) for call in calls), gpus or workers)
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, UserError) else error from None
    except RayError as error:
        raise UserError(
            f"a task on the Ray cluster failed: {' '.join(str(error).split())[:300]}"
        ) from None
    finally:
        ray.shutdown()


def _on_cluster(ray: Any, task: Any, calls: Iterator[tuple], workers: int) -> None:
    waiting: list[Any] = []
    for call in calls:
        waiting.append(task.remote(*call))
        if len(waiting) > workers:
            done, waiting = ray.wait(waiting)
            ray.get(done)
    ray.get(waiting)


def _in_folder(function: Callable[..., None], folder: str, call: tuple) -> None:
    os.chdir(folder)
    function(*call)
