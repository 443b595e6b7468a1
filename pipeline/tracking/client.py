"""MLflow runs that cost a stage milliseconds: it appends records to a file (see `spool`), and one
writer process, which serves all stages, imports MLflow and writes them.

The first stage starts the writer, which ends when no stage has come for a while. Nothing waits for
it. Trouble with tracking is one line on stderr, of this stage or the next, and never stops a stage;
`.work/tracking.log` has the details. Where MLflow is not installed nothing is tracked.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pipeline.config import params
from pipeline.errors import UserError
from pipeline.tracking import source, spool, store
from pipeline.tracking.registry import MADE, MODEL, WEIGHTS
from pipeline.utils import files, workdir


@contextmanager
def run(
    name: str,
    *,
    stage: str,
    task: str | None = None,
    variant: str | None = None,
    table: str | None = None,
    params: dict[str, Any],
    work_dir: Path | None = None,
) -> Iterator["Run"]:
    """One run of the experiment `vl-beit-<scale>`. An exception marks it as failed, an interrupt
    and SIGTERM as killed.

    Args:
        name: for people ("finetune flickr30k").
        stage: `stages/<stage>.py`. task, variant, table: become tags where given.
        params: a nested block, becomes dotted parameters.
        work_dir: a stage that resumes in this work folder continues the run that it began there.
    """
    tracked = Run(None)
    if installed():
        tags = source.tags(stage) | {
            "stage": stage,
            "dvc.stage": os.environ.get("DVC_STAGE", stage),
            **_given(task=task, variant=variant, table=table),
        }
        folder = None if work_dir is None else str(work_dir.resolve())
        tracked = _opened(name, params, tags, work_dir=folder)
        tracked.text(source.edits(), "params.diff")
    with _ending(tracked):
        yield tracked


@contextmanager
def run_of(
    model: str,
    folder: Path,
    name: str,
    *,
    stage: str,
    task: str | None = None,
    variant: str | None = None,
    table: str | None = None,
    params: dict[str, Any],
) -> Iterator["Run"]:
    """The run that made a model, for what is learned of the model later: it is found by the SHA-256
    of the weights and keeps its status and times. Where it is gone, a new one takes its place.

    Args:
        model: the model's name ("finetune/flickr30k"). folder: that holds it.
        name, stage, task, variant, table, params: of the run, should it be gone, as for `run`.
    """
    tracked = Run(None)
    if installed():
        tags = {
            "stage": stage,
            "dvc.stage": model.replace("/", "@"),
            **_given(task=task, variant=variant, table=table),
        }
        with _tolerant():
            tracked = _opened(name, params, tags, model=(model, files.sha256(folder / WEIGHTS)))
    with _ending(tracked):
        yield tracked


class Run:
    """The records of a stage while it runs. Without a folder it records nothing."""

    def __init__(self, folder: Path | None, records: IO[str] | None = None) -> None:
        self._folder = folder
        self._records = records
        self._num_files = 0

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Record values at a step (0-based). Cheap enough for every step."""
        with _tolerant():
            numbers = {key: float(value) for key, value in values.items()}
            self._append("metrics", values=numbers, time=_milliseconds(), step=step)

    def dataset(self, path: Path, name: str, context: str) -> None:
        """Record a folder of shards as an input ("training", "evaluation"): its rows per split and
        its fingerprint."""
        with _tolerant():
            index = path / "index.json"
            splits = files.read_json(index)["splits"]
            self._append(
                "dataset",
                name=name,
                context=context,
                source=str(path),
                profile={f"{split} rows": splits[split]["rows"] for split in splits},
                digest=files.sha256(index)[:16],
            )

    def tags(self, values: Mapping[str, Any]) -> None:
        """Record values that say of the run what is no parameter; later ones replace earlier
        ones."""
        with _tolerant():
            self._append("tags", values={key: str(value) for key, value in values.items()})

    def artifact(self, path: Path, folder: str = "") -> None:
        """Record a copy of a file, in a folder of the run's artifacts."""
        with _tolerant():
            target = self._target(path.name)
            if target is not None:
                shutil.copyfile(path, target)
                self._append("artifact", path=str(target), folder=folder)

    def text(self, content: str, name: str) -> None:
        """Record a file with this content, unless it is empty."""
        with _tolerant():
            target = self._target(name) if content else None
            if target is not None:
                target.write_text(content, encoding="utf-8")
                self._append("artifact", path=str(target), folder="")

    def note(self, markdown: str) -> None:
        """Show a text as the description of the experiment, above its runs."""
        with _tolerant():
            self._append("note", text=markdown)

    def model(self, folder: Path, model: str, tags: Mapping[str, Any] | None = None) -> None:
        """Log a model folder as a servable model (see `mlflow_pyfunc`) and register it, alias
        `current`, unless that has been done with these weights.

        Args:
            model: its name ("finetune/vqa"). tags: of the version.
        """
        with _tolerant():
            target = self._target("model")
            if target is None:
                return
            files.link_tree(folder, target)
            values = {key: str(value) for key, value in (tags or {}).items()}
            digest = files.sha256(target / WEIGHTS)
            self._append(
                "model",
                model=model,
                path=str(target),
                digest=digest,
                tags=values,
                is_current=_is_in_workspace(),
            )

    def made(self, file: Path, model: str) -> None:
        """Record that the run made a model that is not logged, for `started_from` to find it; `file`
        is its file of weights."""
        with _tolerant():
            self._append("tags", values={MODEL: model, MADE: files.sha256(file)})

    def started_from(self, role: str, file: Path, model: str) -> None:
        """Link the run to the one that made a model, by tags that begin with `role`, and as MLflow's
        input where it was logged; `file` is its file of weights."""
        with _tolerant():
            self._append("started_from", role=role, model=model, digest=files.sha256(file))

    def current(self, models: Mapping[str, Path]) -> None:
        """Let the alias `current` name the versions of these models, by name, with the weights in
        their folders, and describe them by their cards."""
        for model, folder in models.items():
            with _tolerant():
                if not _is_in_workspace():
                    return
                digest = files.sha256(folder / WEIGHTS)
                self._append("current", model=model, digest=digest)

    def close(self, status: str) -> None:
        """End the run as "FINISHED", "FAILED" or "KILLED"."""
        if self._records is None:
            return
        with _tolerant():
            self._append("close", status=status, end=_milliseconds())
            self._records.close()
        self._records = None
        with _tolerant():
            if spool.start_writer():
                sys.stderr.write(
                    "tracking: the writer had ended early, see .work/tracking.log; "
                    "another one goes on\n"
                )
            spool.print_messages()

    def _append(self, call: str, **arguments: Any) -> None:
        if self._records is not None:
            record = {"call": call, **arguments}
            self._records.write(json.dumps(record, default=str) + "\n")

    def _target(self, name: str) -> Path | None:
        """A path of this name for a file or folder that goes with the records."""
        if self._records is None or self._folder is None:
            return None
        self._num_files += 1
        target = self._folder / "files" / str(self._num_files) / name
        target.parent.mkdir()
        return target


def installed() -> bool:
    """Whether there is an MLflow to write to."""
    return importlib.util.find_spec("mlflow") is not None


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _is_in_workspace() -> bool:
    """Whether the working directory is the project itself: DVC runs queued experiments in
    copies."""
    return workdir.root().parent == Path.cwd().resolve()


def _milliseconds() -> int:
    """Now, in milliseconds since 1970."""
    return int(time.time() * 1000)


def _given(**tags: str | None) -> dict[str, str]:
    """The tags that have a value."""
    return {key: value for key, value in tags.items() if value is not None}


def _opened(name: str, params_: dict[str, Any], tags: dict[str, str], **more: Any) -> Run:
    """A run with its first record. The scale and the store are those of this process; the writer
    may have been started by another one."""
    tracked = Run(None)
    with _tolerant():
        record = {
            "name": name,
            "start": _milliseconds(),
            "params": flatten(params_),
            "tags": tags | {"scale": params.scale()},
            "store": store.chosen_uri(),
            **more,
        }
        tracked = Run(*spool.create())
        tracked._append("open", **record)
    with _tolerant():
        spool.start_writer()
        spool.print_messages()
    return tracked


@contextmanager
def _ending(tracked: Run) -> Iterator[None]:
    """Close a run at the end of the block, with the status that this has."""
    try:
        yield
    except BaseException as error:
        tracked.close("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    tracked.close("FINISHED")


@contextmanager
def _tolerant() -> Iterator[None]:
    """What cannot be recorded is one line on stderr."""
    try:
        yield
    except (
        OSError,
        subprocess.SubprocessError,
        UserError,
        ValueError,
        TypeError,
        KeyError,
    ) as error:
        line = " ".join(str(error).split())
        sys.stderr.write(f"tracking: not recorded: {type(error).__name__}: {line}\n")
