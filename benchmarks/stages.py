"""The overhead of a stage: `python -m benchmarks.stages`; `... times` for the stages of the last
`dvc repro`.

Every stage is a process of its own. Each runs on the tests' tiny parameters, with next to nothing
to do: what is left is the start of Python, imports, params.yaml and tracking. `times` reads the
duration of each stage of this project from its MLflow runs, which begin after the imports.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config import params
from pipeline.tracking import store
from tests.helpers import tiny

ROOT = Path(__file__).resolve().parents[1]
# Stages that load another task for each argument; of others the first call stands for all.
ALL_CALLS = ("finetune", "evaluate")


def main(words: list[str]) -> None:
    for line in recorded() if words == ["times"] else measured():
        print(line, flush=True)


def measured() -> Iterator[str]:
    """Seconds of each stage, and of its imports alone. Calls that are not measured, but whose
    outputs others need, run in this process."""
    yield f"{'stage':32} {'import':>7} {'whole':>7}"
    known: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny.write(folder, tiny.settings())
        os.chdir(folder)
        for stage, *arguments in tiny.stages():
            if set(arguments) & set(tiny.ABLATIONS) or "-" in "".join(arguments):
                continue
            if stage in known and stage not in ALL_CALLS:
                tiny.run(stage, *arguments)
                continue
            if stage not in known:
                known[stage] = seconds(folder, "-c", f"import stages.{stage}")
            whole = seconds(folder, "-m", f"stages.{stage}", *arguments)
            yield f"{' '.join([stage, *arguments]):32} {known[stage]:7.2f} {whole:7.2f}"


def seconds(folder: Path, *command: str) -> float:
    """Seconds of a Python process in a project folder."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def recorded() -> Iterator[str]:
    """Seconds of the newest finished run of each stage, the longest first, and their sum."""
    newest: dict[str, float] = {}
    for run in finished_runs():
        newest[run.info.run_name] = (run.info.end_time - run.info.start_time) / 1000
        if evaluation := run.data.tags.get("evaluate.seconds"):
            newest[f"evaluate {run.data.tags['model']}"] = float(evaluation)
    for name, duration in sorted(newest.items(), key=lambda pair: -pair[1]):
        yield f"{name:44} {duration:8.1f} s"
    yield f"{'all':44} {sum(newest.values()):8.1f} s"


def finished_runs() -> list[Any]:
    """The finished runs of this project's experiment, the oldest first."""
    from mlflow.tracking import MlflowClient

    os.chdir(ROOT)
    client = MlflowClient(store.locate(ROOT, store.chosen_uri()).uri)
    experiment = client.get_experiment_by_name(store.experiment_name(params.scale()))
    if experiment is None:
        return []
    runs = client.search_runs([experiment.experiment_id], "status = 'FINISHED'", max_results=1000)
    return sorted(runs, key=lambda run: run.info.start_time)


if __name__ == "__main__":
    main(sys.argv[1:])
