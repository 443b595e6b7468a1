"""The process that writes one MLflow run from the JSON lines that `tracking` sends (`python -m ... ROOT`).

It answers `ready` once the run is open and `synced` when asked to. If the lines end without `close`, the stage was
killed, and so says the run.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from filelock import FileLock

ALIAS = "current"  # of the newest version of a registered model; MLflow keeps "latest" for itself
_CODE = Path(__file__).resolve().parents[1]  # the folder that holds `model` and `pipeline`


def main(root: Path) -> None:
    """Read records until the pipe closes."""
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR",
                   "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    writer: Writer | None = None
    for line in sys.stdin:
        record = json.loads(line)
        call = record.pop("call")
        if call == "open":
            writer = Writer(root, **record)
            _say("ready")
        elif call == "sync":
            _say("synced")
        else:
            _attempt(getattr(writer, call), record)
    if writer is not None and writer.open:
        writer.close("KILLED", None)


class Writer:
    """One open run in the store at MLFLOW_TRACKING_URI, by default `mlflow.db` and `mlruns/` under `root`."""

    def __init__(self, root: Path, name: str, start: int, tags: dict[str, str], params: dict[str, Any],
                 work: str | None) -> None:
        """`start` is in milliseconds since 1970."""
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient, set_tracking_uri

        self._uri = os.environ.get("MLFLOW_TRACKING_URI")
        set_tracking_uri(self._uri or f"sqlite:///{root}/mlflow.db")
        (root / ".work").mkdir(exist_ok=True)
        with FileLock(root / ".work" / "tracking.lock"):  # two writers must not both make the database
            self._client = MlflowClient()
            self._experiment = self._experiment_id(root, f"vl-beit-{tags['scale']}")
        self._run = self._continued(work) or self._new(name, start, tags | {"git.commit": _commit(root)}, work)
        if not self._client.get_run(self._run).data.params:
            self._client.log_batch(self._run, params=[Param(key, str(value)) for key, value in params.items()])
        self.open = True

    def metrics(self, points: list[tuple[str, float, int, int]]) -> None:
        """Points are (name, value, milliseconds since 1970, step)."""
        from mlflow.entities import Metric

        self._client.log_batch(self._run, metrics=[Metric(*point) for point in points])

    def dataset(self, name: str, context: str, source: str, profile: dict[str, int], digest: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = Dataset(name=name, digest=digest, source_type="local", source=json.dumps({"uri": source}),
                       profile=json.dumps(profile))
        self._client.log_inputs(self._run, datasets=[DatasetInput(data, [InputTag("mlflow.data.context", context)])])

    def artifact(self, path: str) -> None:
        self._client.log_artifact(self._run, path)

    def note(self, text: str) -> None:
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", text)

    def model(self, name: str, parts: dict[str, str]) -> None:
        """Log from code, so that no pickle is involved, with the code that it needs. `parts`: see `serving`."""
        import mlflow

        from pipeline import serving

        with mlflow.start_run(run_id=self._run):
            logged = mlflow.pyfunc.log_model(
                name="model", python_model=str(_CODE / "pipeline" / "serving.py"), artifacts=parts,
                code_paths=[str(_CODE / "model"), str(_CODE / "pipeline")], signature=serving.signature(),
                input_example=serving.example(),
                pip_requirements=["mlflow", "torch", "timm", "numpy", "safetensors", "sentencepiece", "pillow-simd"])
        with redirect_stderr(StringIO()):  # it tells at length that all went well
            version = mlflow.register_model(logged.model_uri, name).version
        self._client.set_registered_model_alias(name, ALIAS, version)

    def close(self, status: str, end: int | None) -> None:
        """`end` is in milliseconds since 1970; None: now."""
        self._client.set_terminated(self._run, status, end)
        self.open = False

    def _experiment_id(self, root: Path, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        place = None if self._uri else (root / "mlruns").as_uri()
        return self._client.create_experiment(name, artifact_location=place)

    def _continued(self, work: str | None) -> str | None:
        """The run that was begun in this work folder, open again."""
        from mlflow.exceptions import MlflowException

        if work is None or not (note := Path(work) / "run_id").exists():
            return None
        try:
            run = self._client.get_run(note.read_text())
        except MlflowException:  # another server, or the database was deleted
            return None
        self._client.update_run(run.info.run_id, status="RUNNING")
        return run.info.run_id

    def _new(self, name: str, start: int, tags: dict[str, str], work: str | None) -> str:
        run = self._client.create_run(self._experiment, start_time=start, run_name=name, tags=tags)
        if work is not None:
            Path(work).mkdir(parents=True, exist_ok=True)
            (Path(work) / "run_id").write_text(run.info.run_id)
        return run.info.run_id


def _attempt(call: Callable[..., None], record: dict[str, Any]) -> None:
    """One record that cannot be written does not lose the others."""
    try:
        call(**record)
    except Exception as error:
        _complain(f"{call.__name__} not logged", error)


def _complain(what: str, error: Exception) -> None:
    print(f"tracking: {what}: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)


def _say(word: str) -> None:
    try:
        print(word, flush=True)
    except BrokenPipeError:  # the stage has ended and does not listen any more
        sys.stdout = open(os.devnull, "w")


def _commit(root: Path) -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    return done.stdout.strip() or "none"


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Exception as error:
        _complain("stopped", error)
        raise SystemExit(1) from None
