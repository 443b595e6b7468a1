"""One function on many arguments: in this process, in a pool of processes, or as tasks of a Ray
cluster."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.config.limits import Threads
from pipeline.errors import UserError
from pipeline.orchestration import ray_train

Call = tuple[Any, ...]  # the arguments of one
Done = Callable[[Call], None]


@dataclass(frozen=True)
class PoolParams:
    """Block `pool`. It changes no output, so no stage depends on it.

    workers: concurrent processes on this machine, or concurrent tasks on a cluster; for visual
        tokens, threads of each.
    """

    workers: Threads


def run(
    function: Callable[..., None],
    calls: Iterable[Call],
    workers: int,
    *,
    gpu: bool = False,
    done: Done = lambda call: None,
) -> None:
    """`function(*call)` for every call, in any order, `workers` at a time.

    With RAY_ADDRESS set the calls run on that cluster, with one worker in this process, else in a
    pool of processes.

    Args:
        function: a module-level function that writes its result to files, which all nodes of a
            cluster share.
        calls: argument tuples, consumed lazily: about `workers` of them are in memory at a time.
        gpu: on a cluster with GPUs each call gets a GPU of its own, and as many calls run at a time
            as there are GPUs.
        done: called in this process after each call, with the call.

    Raises:
        UserError: as raised by the function; or a worker was killed.
    """
    if os.environ.get("RAY_ADDRESS"):
        _on_ray(function, calls, workers, gpu, done)
    elif workers == 1:
        for call in calls:
            function(*call)
            done(call)
    else:
        _in_processes(function, calls, workers, done)


def _in_processes(
    function: Callable[..., None], calls: Iterable[Call], workers: int, done: Done
) -> None:
    # not "fork", which would copy locks that threads of the driver hold
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_exit_with_driver) as pool:
        pending: dict[Future, Call] = {}
        try:
            for call in calls:
                with _interrupts_held():
                    future = pool.submit(function, *call)
                pending[future] = call
                if len(pending) > workers:
                    _await_some(pending, done)
            while pending:
                _await_some(pending, done)
        except BrokenProcessPool:
            raise UserError(
                "a worker process was killed, perhaps because memory ran out; run the stage again "
                "with fewer workers, it resumes where it stopped"
            ) from None
        except (KeyboardInterrupt, SystemExit):
            for worker in multiprocessing.active_children():
                worker.kill()  # or the pool would wait for what they do
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes that start meanwhile never see Ctrl-C, which is for their driver: each would print
    a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _await_some(pending: dict[Future, Call], done: Done) -> None:
    """Wait until at least one call is done, raise its error if it failed, keep the rest."""
    for future in wait(pending, return_when=FIRST_COMPLETED).done:
        future.result()
        done(pending.pop(future))


def _exit_with_driver() -> None:
    """End this worker when its driver ends. Workers of a killed driver would wait for ever, and
    write beside the workers of the next one."""
    driver = multiprocessing.parent_process()
    assert driver is not None  # this is a worker

    def watch() -> None:
        driver.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_ray(
    function: Callable[..., None], calls: Iterable[Call], workers: int, gpu: bool, done: Done
) -> None:
    import ray
    from ray.exceptions import RayError, RayTaskError

    ray_train.check_cluster(threads=1)
    with ray_train.connected(workers, threads=1):
        gpus = int(ray.cluster_resources().get("GPU", 0)) if gpu else 0
        task = ray.remote(_in_folder).options(num_gpus=min(gpus, 1))
        pending: dict[Any, Call] = {}

        def await_one() -> None:
            for finished in ray.wait(list(pending))[0]:
                ray.get(finished)
                done(pending.pop(finished))

        try:
            for call in calls:
                pending[task.remote(function, os.getcwd(), call)] = call
                if len(pending) > (gpus or workers):
                    await_one()
            while pending:
                await_one()
        except RayTaskError as error:
            raise error.cause if isinstance(error.cause, UserError) else error from None
        except RayError as error:
            raise UserError(
                f"a task on the Ray cluster failed: {' '.join(str(error).split())[:300]}"
            ) from None


def _in_folder(function: Callable[..., None], folder: str, call: Call) -> None:
    """Call a function in the driver's working directory."""
    os.chdir(folder)
    function(*call)
