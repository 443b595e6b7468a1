"""MLflow runs that cost a stage nothing: records go as JSON lines to a writer process that imports MLflow meanwhile.

Importing MLflow and opening its store takes about two seconds, more than many stages. The writer does it on another
core, outlives the stage if it must, and sees the pipe close when the stage is killed, so that no run stays "running"
for ever. Trouble with tracking is reported and never stops a stage. Where MLflow is not installed nothing is tracked.
"""

import importlib.util
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline import files, params

_POINTS = 500  # metric values that are sent at once (MLflow takes at most 1,000) ...
_SECONDS = 5.0  # ... or this long after the first of them
_PIPE = 1 << 20  # bytes that wait for a writer that is still starting


@contextmanager
def run(name: str, *, stage: str, task: str | None = None, variant: str | None = None, table: str | None = None,
        params: dict[str, Any], work: Path | None = None) -> Iterator["Run"]:
    """One run of the experiment `vl-beit-<scale>`, named as people read it ("finetune flickr30k").

    `task`, `variant` and `table` become tags where given; `params` (a nested block) becomes dotted parameters.
    A stage that resumes from `work` continues the run that it began there. An exception marks the run as failed.
    """
    tags = {"stage": stage, "dvc.stage": os.environ.get("DVC_STAGE", stage), "task": task, "variant": variant,
            "table": table}
    opening = {"call": "open", "name": name, "start": _milliseconds(), "params": flatten(params),
               "tags": {key: value for key, value in tags.items() if value is not None},
               "work": None if work is None else str(work.resolve())}
    tracked = Run(_writer(opening) if installed() else None)
    try:
        yield tracked
    except BaseException:
        tracked.close("FAILED")
        raise
    tracked.close("FINISHED")


class Run:
    """What a stage says about itself while it runs. Without a writer it says nothing."""

    def __init__(self, writer: subprocess.Popen[str] | None) -> None:
        self._writer = writer
        self._points: list[tuple[str, float, int, int]] = []
        self._first = 0.0

    def metrics(self, values: dict[str, float], step: int = 0) -> None:
        """Note values at a step (0-based). They are buffered, so this may be called at every step."""
        now = time.time()
        if not self._points:
            self._first = now
        self._points += [(key, float(value), _milliseconds(), step) for key, value in values.items()]
        if len(self._points) >= _POINTS or now - self._first >= _SECONDS:
            self._flush()

    def dataset(self, path: Path, name: str, context: str) -> None:
        """Note a folder of shards as an input ("training", "evaluation"): its rows per split and its fingerprint."""
        index = path / "index.json"
        profile = {f"{split} rows": facts["rows"] for split, facts in files.read_json(index)["splits"].items()}
        self._send({"call": "dataset", "name": name, "context": context, "source": str(path), "profile": profile,
                    "digest": files.sha256(index)[:16]})

    def artifact(self, path: Path) -> None:
        """Copy a file into the run. Returns when it is done: DVC moves outputs once the stage has ended."""
        self._send({"call": "artifact", "path": str(path.resolve())})
        self._wait()

    def note(self, markdown: str) -> None:
        """Show a text as the description of the experiment, above its runs."""
        self._send({"call": "note", "text": markdown})
        self._wait()

    def model(self, folder: Path, name: str, text_tokenizer: Path | None = None) -> None:
        """Log a checkpoint folder as a servable model (see `serving`) and register it as `name`, alias `current`.

        `text_tokenizer` is the file that the model's texts are read with; a model of pictures alone has none.
        """
        parts = {"model": folder} | ({"text_tokenizer": text_tokenizer} if text_tokenizer else {})
        self._send({"call": "model", "name": name, "parts": {key: str(path.resolve()) for key, path in parts.items()}})
        self._wait()

    def close(self, status: str) -> None:
        """End the run. A writer that is still starting is left to finish by itself."""
        self._flush()
        self._send({"call": "close", "status": status, "end": _milliseconds()})
        if self._writer is None:
            return
        if select.select([self._writer.stdout], [], [], 0)[0]:
            self._wait()
        self._hang_up()

    def _flush(self) -> None:
        if self._points:
            self._send({"call": "metrics", "points": self._points})
            self._points = []

    def _send(self, record: dict[str, Any]) -> None:
        if self._writer is None:
            return
        try:
            print(json.dumps(record), file=self._writer.stdin, flush=True)
        except BrokenPipeError:  # the writer has said why
            self._hang_up()

    def _hang_up(self) -> None:
        for pipe in (self._writer.stdin, self._writer.stdout):
            with suppress(BrokenPipeError):
                pipe.close()
        self._writer = None

    def _wait(self) -> None:
        """Wait until the writer has done all that it was sent; it answers `sync` with one line."""
        self._send({"call": "sync"})
        if self._writer is not None:
            _ = next((line for line in self._writer.stdout if line == "synced\n"), None)


def installed() -> bool:
    """Whether there is an MLflow to write to."""
    return importlib.util.find_spec("mlflow") is not None


def root() -> Path:
    """Where the tracking database lives: the project's root, also from a throw-away copy that DVC works in."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _milliseconds() -> int:
    return int(time.time() * 1000)


def _writer(opening: dict[str, Any]) -> subprocess.Popen[str]:
    """Start the writer in a session of its own (Ctrl-C is for the stage) and hand it the opening record."""
    package = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    writer = subprocess.Popen([sys.executable, "-m", "pipeline.tracking_writer", str(root())], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, start_new_session=True, pipesize=_PIPE,
                              env={**os.environ, "PYTHONPATH": path})
    opening["tags"]["scale"] = params.scale()
    print(json.dumps(opening), file=writer.stdin, flush=True)
    return writer

