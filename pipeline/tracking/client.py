"""MLflow runs that cost a stage nothing: records go as JSON lines to a writer process that imports
MLflow meanwhile.

Importing MLflow and opening its store takes seconds, more than many stages. So one writer serves
all stages: the first starts it, and it ends when none has come for a while. It is nobody's child,
answers over a Unix socket, and sees the connection end when a stage is killed, so that no run stays
"running" for ever. Trouble with tracking is reported and never stops a stage; more of it is in
`.work/tracking.log`. Where MLflow is not installed nothing is tracked.
"""

import fcntl
import importlib.util
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.config import params
from pipeline.utils import files

CODE = Path(__file__).resolve().parents[2]  # the folder that holds `model` and `pipeline`
_IDLE = 20.0  # seconds that a writer waits for the next stage
_POINTS = 500  # metric values that are sent at once (MLflow takes at most 1,000) ...
_SECONDS = 5.0  # ... or this long after the first of them
_BUFFER = 1 << 20  # bytes that wait for a writer that is still starting
_GONE = "tracking: the writer has ended early; see .work/tracking.log"


@contextmanager
def run(
    name: str,
    *,
    stage: str,
    task: str | None = None,
    variant: str | None = None,
    table: str | None = None,
    params: dict[str, Any],
    work: Path | None = None,
) -> Iterator["Run"]:
    """One run of the experiment `vl-beit-<scale>`, named as people read it ("finetune flickr30k").

    `task`, `variant` and `table` become tags where given; `params` (a nested block) becomes dotted
    parameters. A stage that resumes from `work` continues the run that it began there. An exception
    marks the run as failed.
    """
    tags = {
        "stage": stage,
        "dvc.stage": os.environ.get("DVC_STAGE", stage),
        "task": task,
        "variant": variant,
        "table": table,
    }
    opening = {
        "name": name,
        "start": _milliseconds(),
        "params": flatten(params),
        "tags": {key: value for key, value in tags.items() if value is not None},
        "work": None if work is None else str(work.resolve()),
    }
    tracked = _opened(opening) if installed() else Run(None)
    try:
        yield tracked
    except BaseException:
        tracked.close("FAILED")
        raise
    tracked.close("FINISHED")


class Run:
    """What a stage says about itself while it runs. Without a writer it says nothing."""

    def __init__(self, writer: socket.socket | None) -> None:
        self._writer = writer
        self._replies = writer.makefile(encoding="utf-8") if writer else None
        self._ready = False
        self._points: list[tuple[str, float, int, int]] = []
        self._first = 0.0

    def metrics(self, values: dict[str, float], step: int = 0) -> None:
        """Note values at a step (0-based). They are buffered, so this may be called at every
        step."""
        now = time.time()
        if not self._points:
            self._first = now
        self._points += [
            (key, float(value), _milliseconds(), step) for key, value in values.items()
        ]
        if len(self._points) >= _POINTS or now - self._first >= _SECONDS:
            self._flush()

    def dataset(self, path: Path, name: str, context: str) -> None:
        """Note a folder of shards as an input ("training", "evaluation"): its rows per split and
        its fingerprint."""
        index = path / "index.json"
        profile = {
            f"{split} rows": facts["rows"]
            for split, facts in files.read_json(index)["splits"].items()
        }
        self._send(
            {
                "call": "dataset",
                "name": name,
                "context": context,
                "source": str(path),
                "profile": profile,
                "digest": files.sha256(index)[:16],
            }
        )

    def artifact(self, path: Path) -> None:
        """Copy a file into the run. Returns when it is done: DVC moves outputs once the stage has
        ended."""
        self._send({"call": "artifact", "path": str(path.resolve())})
        self._wait()

    def note(self, markdown: str) -> None:
        """Show a text as the description of the experiment, above its runs."""
        self._send({"call": "note", "text": markdown})
        self._wait()

    def model(self, folder: Path, name: str, text_tokenizer: Path | None = None) -> None:
        """Log a checkpoint folder as a servable model (see `serving`) and register it as `name`,
        alias `current`.

        `text_tokenizer` is the file that the model's texts are read with; a model of pictures alone
        has none.
        """
        parts = {"model": folder} | ({"text_tokenizer": text_tokenizer} if text_tokenizer else {})
        self._send(
            {
                "call": "model",
                "name": name,
                "code": str(CODE),
                "parts": {key: str(path.resolve()) for key, path in parts.items()},
            }
        )
        self._wait()

    def close(self, status: str) -> None:
        """End the run. A writer that is busy with its start is left to finish by itself."""
        self._flush()
        self._send({"call": "close", "status": status, "end": _milliseconds()})
        if self._writer is not None and (
            self._ready or select.select([self._writer], [], [], 0)[0]
        ):
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
            self._writer.sendall(json.dumps(record).encode() + b"\n")
        except OSError:
            print(_GONE, file=sys.stderr)
            self._hang_up()

    def _wait(self) -> None:
        """Wait until the writer has done all that it was sent: `ready` (once), what went wrong,
        `synced`."""
        self._send({"call": "sync"})
        while self._writer is not None:
            match self._reply():
                case "synced":
                    return
                case "ready":
                    self._ready = True
                case trouble:
                    print(trouble, file=sys.stderr)

    def _reply(self) -> str:
        with suppress(OSError):
            if line := self._replies.readline():
                return line.rstrip()
        self._hang_up()
        return _GONE

    def _hang_up(self) -> None:
        if self._writer is not None:
            self._replies.close()
            self._writer.close()
            self._writer = None


def installed() -> bool:
    """Whether there is an MLflow to write to."""
    return importlib.util.find_spec("mlflow") is not None


def root() -> Path:
    """Where the tracking database lives: the project's root, also from a throw-away copy that DVC
    works in."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            flatten(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return flat


def _milliseconds() -> int:
    return int(time.time() * 1000)


def _opened(record: dict[str, Any]) -> Run:
    """The scale and the store are those of this process; the writer may have been started by
    another one."""
    record["tags"]["scale"] = params.scale()
    tracked = Run(_connection())
    tracked._send({"call": "open", **record, "store": os.environ.get("MLFLOW_TRACKING_URI")})
    return tracked


def _connection() -> socket.socket | None:
    """To the writer of this project, which is started if there is none."""
    work = root() / ".work"
    try:
        work.mkdir(exist_ok=True)
        with alone(work):
            return _reach(work)
    except OSError as error:
        print(f"tracking: not started: {error}", file=sys.stderr)
        return None


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Hold `tracking.lock`: one process at a time starts, joins or ends the writer."""
    with (work / "tracking.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _reach(work: Path) -> socket.socket:
    address = os.path.relpath(work / "tracking.sock")  # relative: at most 107 bytes are allowed
    writer = socket.socket(socket.AF_UNIX)
    writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    try:
        writer.connect(address)
    except (
        FileNotFoundError,
        ConnectionRefusedError,
    ):  # never started, or ended: that leaves the socket's file
        Path(address).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            writer.connect(address)  # the writer finds who waits
            _start(listener, work)
    return writer


def _start(listener: socket.socket, work: Path) -> None:
    """Start the writer in a session of its own (Ctrl-C is for the stage), as an orphan (Ray kills a
    worker's children), with none of our files open (`make | tee` ends when we do)."""
    number = listener.fileno()
    command = [
        sys.executable,
        "-m",
        "pipeline.tracking.writer",
        str(work.parent),
        str(number),
        str(_IDLE),
    ]
    with (work / "tracking.log").open("a") as log:
        subprocess.run(
            ["sh", "-c", '"$@" &', "sh", *command],
            cwd=CODE,
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            check=True,
        )
