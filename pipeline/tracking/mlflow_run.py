"""An open run in MLflow, in the writer's process. Methods are named as the records that they write.

MLflow is imported where it is needed, for the writer to report it where the import fails.
"""

import json
import runpy
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from pipeline.tracking import spool
from pipeline.tracking.store import (
    DELETED,
    experiment_name,
    find_experiment,
    locate,
    make_database,
)
from pipeline.utils import files

ALIAS = "current"  # of the newest version of a registered model; MLflow keeps "latest" for itself
REQUIREMENTS = ["mlflow", "torch", "timm", "numpy", "safetensors", "sentencepiece", "pillow-simd"]
MAX_POINTS = 1000  # metric values that MLflow takes at once
# MLflow's codes where it refuses a value or a name, among others in the same batch
REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INTERNAL_ERROR")
UNREACHABLE = "API request to"  # begins MLflow's message where a server does not answer
T = TypeVar("T")
Point = tuple[str, float, int, int]  # name, value, milliseconds since 1970, step


class MlflowRun:
    """A run of the experiment of its scale, new or continued."""

    def __init__(
        self,
        root: Path,
        folder: Path,
        name: str,
        start: int,
        tags: dict[str, str],
        work_dir: str | None,
        store: str | None,
    ) -> None:
        """Begin a run, or go on with the one that an earlier writer or stage began.

        Args:
            root: the project's root. folder: of the run in the spool. name: for people.
            start: milliseconds since 1970. work_dir: the stage's work folder. store: a tracking
            URI, or None for the default.
        """
        from mlflow.tracking import MlflowClient

        self._root = root
        self._spool = folder.parent
        self._store = locate(root, store)
        if store is None:
            make_database()
        self._client = MlflowClient(self._store.uri)
        self._experiment = self._open_experiment(experiment_name(tags["scale"]))
        # in the spool for the next writer, in the work folder for the next attempt of the stage
        notes = [folder / "run_id", *([Path(work_dir, "run_id")] if work_dir else [])]
        self._run = self._continued(notes) or self._new(name, start, tags)
        for note in notes:
            if note.parent.exists():
                with files.replacing(note) as temporary:
                    temporary.write_text(self._run)

    def params(self, values: dict[str, Any]) -> None:
        """`values` by dotted names; a run that goes on has its own."""
        from mlflow.entities import Param

        if not self._client.get_run(self._run).data.params:
            entries = [Param(key, str(value)) for key, value in values.items()]
            _write_all(lambda part: self._client.log_batch(self._run, params=part), entries)

    def metrics(self, points: list[Point]) -> None:
        from mlflow.entities import Metric

        for start in range(0, len(points), MAX_POINTS):
            batch = [Metric(*point) for point in points[start : start + MAX_POINTS]]
            _write_all(lambda part: self._client.log_batch(self._run, metrics=part), batch)

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

    def model(self, name: str, path: str) -> None:
        """Log a model from code, so that no pickle is involved, with the code that it needs.

        `path` is its folder in the spool. It is removed at the end: a second registration would be
        a new version.
        """
        import mlflow
        from mlflow.models import Model

        if not Path(path).exists():
            return
        mlflow.set_tracking_uri(self._store.uri)
        mlflow.set_experiment(experiment_id=self._experiment)
        code = spool.CODE
        pyfunc = code / "pipeline" / "inference" / "mlflow_pyfunc.py"
        functions = runpy.run_path(str(pyfunc))
        logged = Model.log(
            artifact_path=None,
            name="model",
            run_id=self._run,
            flavor=SimpleNamespace(save_model=_save),
            registered_model_name=name,
            validate_serving_input=False,
            python_model=str(pyfunc),
            artifacts={"model": Path(path).as_uri()},
            code_paths=[str(code / "model"), str(code / "pipeline")],
            signature=functions["signature"](),
            input_example=functions["example"](),
            pip_requirements=REQUIREMENTS,
        )
        self._client.set_registered_model_alias(name, ALIAS, logged.registered_model_version)
        shutil.rmtree(path)

    def close(self, status: str, end: int) -> None:
        """`end` is in milliseconds since 1970."""
        self._client.set_terminated(self._run, status, end)

    def is_deleted(self) -> bool:
        """Whether the run or its experiment has been deleted since it was opened."""
        from mlflow.exceptions import MlflowException

        try:
            experiment = self._client.get_experiment(self._experiment)
            run = self._client.get_run(self._run)
        except MlflowException as error:
            return _is_missing(error)
        return DELETED in (experiment.lifecycle_stage, run.info.lifecycle_stage)

    def _open_experiment(self, name: str) -> str:
        experiment, message = find_experiment(self._client, name)
        if message is not None:
            spool.leave_message(self._spool, message)
        if experiment is not None:
            return experiment
        return self._client.create_experiment(name, artifact_location=self._store.artifacts)

    def _continued(self, notes: list[Path]) -> str | None:
        """The run whose id is in one of these files, open again; None if there is none any more."""
        from mlflow.exceptions import MlflowException

        texts = [note.read_text(errors="replace").strip() for note in notes if note.is_file()]
        run_id = next(filter(None, texts), None)  # a lost write leaves an empty file
        if run_id is None:
            return None
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if not _is_missing(error) and error.error_code not in REFUSALS:
                raise
            spool.leave_message(self._spool, f"run {run_id} is gone; a new one replaces it")
            return None
        if run.info.lifecycle_stage == DELETED:
            self._client.restore_run(run_id)
            title = run.info.run_name
            spool.leave_message(self._spool, f"run {title!r} had been deleted; it is restored")
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def _new(self, name: str, start: int, tags: dict[str, str]) -> str:
        tags = tags | {"git.commit": _commit(self._root)}
        run = self._client.create_run(self._experiment, start_time=start, run_name=name, tags=tags)
        return run.info.run_id


def _is_missing(error: Any) -> bool:
    return error.error_code == "RESOURCE_DOES_NOT_EXIST"


def _write_all(write: Callable[[Sequence[T]], Any], entries: Sequence[T]) -> None:
    """Write entries, without those that the store refuses.

    Raises:
        ValueError: some were refused; the message has the first one's key and reason.
    """
    if refused := _refused(write, entries):
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise ValueError(f"refused: {refused[0]}{more}; the others are recorded")


def _refused(write: Callable[[Sequence[T]], Any], entries: Sequence[T]) -> list[str]:
    """Write entries, by halves where the store refuses them; a line for each that it refuses."""
    from mlflow.exceptions import MlflowException

    try:
        write(entries)
    except MlflowException as error:
        if error.error_code not in REFUSALS or UNREACHABLE in str(error):
            raise
        if len(entries) == 1:
            return [f"{getattr(entries[0], 'key', '?')!r:.80}: {error}"]
        half = len(entries) // 2
        return _refused(write, entries[:half]) + _refused(write, entries[half:])
    return []


def _save(validate_serving_input: bool, **arguments: Any) -> None:
    """As a `pyfunc` model, whose own `log_model` would load torch and the model to try the
    example."""
    from mlflow import pyfunc

    pyfunc.save_model(**arguments)


def _commit(root: Path) -> str:
    """The commit that is checked out, or "none"."""
    git = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return git.stdout.strip() or "none"
