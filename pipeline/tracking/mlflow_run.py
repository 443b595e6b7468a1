"""An open run in MLflow, in the writer's process. Methods are named as the records that they write.

MLflow is imported where it is needed, for the writer to report it where the import fails.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.tracking import registry, served_model, spool
from pipeline.tracking.store import (
    DELETED,
    experiment_name,
    find_experiment,
    locate,
    make_database,
)
from pipeline.utils import files

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

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
        store: str | None,
        work_dir: str | None = None,
        model: tuple[str, str] | None = None,
    ) -> None:
        """Begin a run, or go on with the one that an earlier writer or stage began.

        Args:
            root: the project's root. folder: of the run in the spool. name: for people.
            start: milliseconds since 1970. store: a tracking URI, or None for the default.
            work_dir: the stage's work folder. model: name and SHA-256 of the model whose run is
            gone on with, should there be one.
        """
        from mlflow.tracking import MlflowClient

        self._root = root
        self._spool = folder.parent
        self._store = locate(root, store)
        if store is None:
            make_database()
        self._client = MlflowClient(self._store.uri)
        self._scale = tags["scale"]
        self._experiment = self._open_experiment(experiment_name(self._scale))
        if model is None:
            self._run = self._begin(folder, name, start, tags, work_dir)
        else:
            self._run = self._of_model(*model, name, start, tags)
        # a run that has ended keeps its status and times
        self._is_over = self._status() != "RUNNING"
        self._machine: SystemMetricsMonitor | None = None

    def _begin(
        self, folder: Path, name: str, start: int, tags: dict[str, str], work_dir: str | None
    ) -> str:
        # in the spool for the next writer, in the work folder for the next attempt of the stage
        notes = [folder / "run_id", *([Path(work_dir, "run_id")] if work_dir else [])]
        run = self._continued(notes) or self._new(name, start, tags)
        for note in notes:
            if note.parent.exists():
                with files.replacing(note) as temporary:
                    temporary.write_text(run)
        return run

    def _of_model(
        self, model: str, digest: str, name: str, start: int, tags: dict[str, str]
    ) -> str:
        made = registry.run_that_made(self._client, self._experiment, model, digest)
        if made is not None:
            return made.info.run_id
        return self._new(name, start, tags | {registry.MODEL: model, registry.MADE: digest})

    def _status(self) -> str:
        return self._client.get_run(self._run).info.status

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

    def tags(self, values: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        entries = list(starmap(RunTag, values.items()))
        _write_all(lambda part: self._client.log_batch(self._run, tags=part), entries)

    def artifact(self, path: str, folder: str) -> None:
        self._client.log_artifact(self._run, path, folder or None)

    def started_from(self, role: str, model: str, digest: str) -> None:
        """Link to the run that made a model with this SHA-256."""
        from mlflow.entities import LoggedModelInput

        self.tags({role: model, f"{role}.sha256": digest})
        made = registry.run_that_made(self._client, self._experiment, model, digest)
        if made is None:
            return
        self.tags({f"{role}.run_id": made.info.run_id})
        models = list(map(LoggedModelInput, registry.logged_models(made)))
        if models:
            self._client.log_inputs(self._run, models=models)

    def note(self, text: str) -> None:
        self._client.set_experiment_tag(self._experiment, "mlflow.note.content", text)

    def model(
        self, model: str, path: str, digest: str, tags: dict[str, str], is_current: bool
    ) -> None:
        """Log a model and register it, unless there is a version with these weights.

        `path` is its folder in the spool. It is removed at the end. tags: of the version.
        is_current: the workspace has these weights.
        """
        if not Path(path).exists():
            return
        self.tags({registry.MODEL: model, registry.MADE: digest})
        name = registry.registered_name(model)
        version = registry.version_of(self._client, name, digest)
        number = version.version if version else self._register(name, path, digest)
        if version is not None:
            self._link_output(registry.logged_model(version))
        for key, value in tags.items():
            self._client.set_model_version_tag(name, number, key, value)
        if is_current:
            registry.make_current(self._client, name, digest)
        shutil.rmtree(path)

    def current(self, model: str, digest: str) -> None:
        """Let the alias name the version with these weights, and describe that."""
        name = registry.registered_name(model)
        version = registry.make_current(self._client, name, digest)
        card = served_model.card(self._scale, model) if version else None
        if version and card and card != version.description:
            self._client.update_model_version(name, version.version, card)

    def _register(self, name: str, path: str, digest: str) -> str:
        """Log a model as a new version, and return that."""
        import mlflow

        mlflow.set_tracking_uri(self._store.uri)
        mlflow.set_experiment(experiment_id=self._experiment)
        number = str(served_model.log(Path(path), self._run, name).registered_model_version)
        self._client.set_model_version_tag(name, number, registry.DIGEST, digest)
        return number

    def _link_output(self, model_id: str) -> None:
        """Weights that an earlier run has logged are this run's output, too."""
        from mlflow.entities import LoggedModelOutput

        if model_id not in registry.logged_models(self._client.get_run(self._run)):
            self._client.log_outputs(self._run, [LoggedModelOutput(model_id, step=0)])

    def watch(self) -> None:
        """Log from now on, every ten seconds, how busy the machine is: processors, memory, disk and
        network, and GPUs where MLflow's optional packages can see them."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        if not self._is_over:
            self._machine = SystemMetricsMonitor(
                self._run, resume_logging=True, tracking_uri=self._store.uri
            )
            self._machine.start()

    def close(self, status: str, end: int) -> None:
        """`end` is in milliseconds since 1970."""
        if self._machine is not None:
            self._machine.finish()
        if not self._is_over:
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
