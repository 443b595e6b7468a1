"""What a stage costs beside its work: `python -m benchmarks.stages`; `... times` for the stages of
the last `dvc repro`.

Every stage is a process of its own. Each kind of stage is run on the tests' tiny settings, where
there is next to nothing to do: what is left is the start of Python, imports, params.yaml and
tracking. `times` reads how long each stage of this project took from its MLflow runs; these begin
when imports are done.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.config import params
from tests.helpers import tiny

ROOT = Path(__file__).resolve().parents[1]
SINGLY = (
    "finetune",
    "evaluate",
)  # every item loads another task; of other stages the first item stands for all


def main(words: list[str]) -> None:
    for line in recorded() if words == ["times"] else measured():
        print(line, flush=True)


def measured() -> Iterator[str]:
    """Seconds of each stage, and of its imports alone; what others only need is made in this
    process."""
    yield f"{'stage':32} {'import':>7} {'whole':>7}"
    known: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny.write(folder, tiny.settings())
        os.chdir(folder)
        for stage, *items in tiny.stages():
            if set(items) & set(tiny.ABLATIONS) or "-" in "".join(items):
                continue
            if stage in known and stage not in SINGLY:
                tiny.run(stage, *items)
                continue
            if stage not in known:
                known[stage] = seconds(folder, "-c", f"import stages.{stage}")
            whole = seconds(folder, "-m", f"stages.{stage}", *items)
            yield f"{' '.join([stage, *items]):32} {known[stage]:7.2f} {whole:7.2f}"


def seconds(folder: Path, *command: str) -> float:
    """Of a Python process in a project folder."""
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
    from mlflow.tracking import MlflowClient

    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{ROOT}/mlflow.db"))
    experiment = client.get_experiment_by_name(f"vl-beit-{params.scale()}")
    runs = (
        []
        if experiment is None
        else client.search_runs([experiment.experiment_id], max_results=1000)
    )
    newest = {
        run.info.run_name: (run.info.end_time - run.info.start_time) / 1000
        for run in sorted(runs, key=lambda run: run.info.start_time)
        if run.info.status == "FINISHED"
    }
    for name, duration in sorted(newest.items(), key=lambda pair: -pair[1]):
        yield f"{name:44} {duration:8.1f} s"
    yield f"{'all':44} {sum(newest.values()):8.1f} s"


if __name__ == "__main__":
    main(sys.argv[1:])
