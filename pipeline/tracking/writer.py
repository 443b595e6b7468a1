"""The process that writes MLflow runs from the JSON lines that stages send, one after the other or
several at once.

`python -m pipeline.tracking.writer ROOT LISTENER IDLE`: see `tracking`. A stage is answered `ready`
once its run is open (or cannot be), `synced` when it asks, and with its first trouble; standard
error has them all. If the lines of a stage end without `close`, the stage was killed, and so says
its run.
"""

import json
import os
import runpy
import select
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipeline.tracking.client import CODE, alone

ALIAS = "current"  # of the newest version of a registered model; MLflow keeps "latest" for itself
REQUIREMENTS = ["mlflow", "torch", "timm", "numpy", "safetensors", "sentencepiece", "pillow-simd"]


def main(root: Path, listener: socket.socket, idle: float) -> None:
    """Serve stages until there has been none for `idle` seconds."""
    os.environ |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    os.environ.setdefault(
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3"
    )  # all stages wait for a server that is not there
    os.chdir(root)  # the folder of the first stage may be a throw-away copy
    database, known = root / "mlflow.db", False
    stages: dict[socket.socket, Stage] = {}
    while True:
        ready = select.select([*stages, listener], [], [], None if stages else idle)[0]
        if not ready and _closed(root, listener):
            return
        for connection in ready:
            if connection is listener:
                if known and not stages and not database.exists():
                    _start_over()
                stage, _ = listener.accept()
                stages[stage] = Stage(stage, root)
            elif stages[connection].heard():
                known = known or database.exists()
            else:
                stages.pop(connection)
                connection.close()


def _closed(root: Path, listener: socket.socket) -> bool:
    """Stop listening, unless a stage has come meanwhile: stages connect under the lock."""
    with alone(root / ".work"):
        late = select.select([listener], [], [], 0)[0]
        if not late:
            listener.close()
        return not late


def _start_over() -> None:
    """Become a new writer on the same listener: MLflow would go on with a database that was
    deleted."""
    os.chdir(CODE)
    os.execv(sys.executable, sys.orig_argv)


class Stage:
    """A stage at the other end of a connection, and its run."""

    def __init__(self, connection: socket.socket, root: Path) -> None:
        self._connection = connection
        self._root = root
        self._rest = b""
        self._writer: Writer | None = None
        self._told = False

    def heard(self) -> bool:
        """Do what the stage has sent. False: it has hung up."""
        try:
            data = self._connection.recv(1 << 16)
        except ConnectionResetError:  # it ended without reading all replies
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._do(**json.loads(line))
        if not data and self._writer is not None and self._writer.open:
            self._do("close", status="KILLED", end=None)
        return bool(data)

    def _do(self, call: str, **record: Any) -> None:
        """One record that cannot be written does not lose the others."""
        try:
            if call == "open":
                self._writer = Writer(self._root, **record)
            elif call == "sync":
                self._say("synced")
            elif self._writer is not None:
                getattr(self._writer, call)(**record)
        except Exception as error:
            self._complain(
                f"tracking: {call} failed: {type(error).__name__}: {' '.join(str(error).split())}"
            )
        if call == "open":
            self._say("ready")

    def _complain(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        if not self._told:  # only once: it may not listen for hours
            self._say(line)
            self._told = True

    def _say(self, line: str) -> None:
        try:
            self._connection.sendall(line.encode() + b"\n")
        except OSError:  # it has ended and does not listen any more
            pass


class Writer:
    """One open run in `store` (a tracking URI), by default `mlflow.db` and `mlruns/` under
    `root`."""

    def __init__(
        self,
        root: Path,
        name: str,
        start: int,
        tags: dict[str, str],
        params: dict[str, Any],
        work: str | None,
        store: str | None,
    ) -> None:
        """`start` is in milliseconds since 1970."""
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self._store = store or f"sqlite:///{root}/mlflow.db"
        self._client = MlflowClient(self._store)
        place = None if store else (root / "mlruns").as_uri()
        self._experiment = self._experiment_id(f"vl-beit-{tags['scale']}", place)
        self._run = self._continued(work) or self._new(
            name, start, tags | {"git.commit": _commit(root)}, work
        )
        if not self._client.get_run(self._run).data.params:
            self._client.log_batch(
                self._run, params=[Param(key, str(value)) for key, value in params.items()]
            )
        self.open = True

    def metrics(self, points: list[tuple[str, float, int, int]]) -> None:
        """Points are (name, value, milliseconds since 1970, step)."""
        from mlflow.entities import Metric

        self._client.log_batch(self._run, metrics=[Metric(*point) for point in points])

    def dataset(
        self, name: str, context: str, source: str, profile: dict[str, int], digest: str
    ) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = Dataset(
            name=name,
            digest=digest,
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps(profile),
        )
        self._client.log_inputs(
            self._run, datasets=[DatasetInput(data, [InputTag("mlflow.data.context", context)])]
        )

    def artifact(self, path: str) -> None:
        self._client.log_artifact(self._run, path)

    def note(self, text: str) -> None:
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", text)

    def model(self, name: str, parts: dict[str, str], code: str) -> None:
        """Log from code, so that no pickle is involved, with the code that it needs. `parts`: see
        `serving`."""
        import mlflow
        from mlflow.models import Model

        mlflow.set_tracking_uri(self._store)
        mlflow.set_experiment(experiment_id=self._experiment)
        serving = Path(code, "pipeline", "serving.py")
        about = runpy.run_path(str(serving))
        logged = Model.log(
            artifact_path=None,
            name="model",
            run_id=self._run,
            flavor=SimpleNamespace(save_model=_save),
            registered_model_name=name,
            validate_serving_input=False,
            python_model=str(serving),
            artifacts=parts,
            code_paths=[str(Path(code, "model")), str(Path(code, "pipeline"))],
            signature=about["signature"](),
            input_example=about["example"](),
            pip_requirements=REQUIREMENTS,
        )
        self._client.set_registered_model_alias(name, ALIAS, logged.registered_model_version)

    def close(self, status: str, end: int | None) -> None:
        """`end` is in milliseconds since 1970; None: now."""
        self._client.set_terminated(self._run, status, end)
        self.open = False

    def _experiment_id(self, name: str, place: str | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
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


def _save(validate_serving_input: bool, **arguments: Any) -> None:
    """As a `pyfunc` model, whose own `log_model` would load torch and the model to try the
    example."""
    from mlflow import pyfunc

    pyfunc.save_model(**arguments)


def _commit(root: Path) -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    return done.stdout.strip() or "none"


if __name__ == "__main__":
    main(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])), float(sys.argv[3]))
