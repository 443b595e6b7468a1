"""The whole pipeline on tiny settings under random kills: `python -m benchmarks.chaos --kills 50`.

Two copies of this checkout's last commit are run with the same parameters: one is left alone, in
the other a process is killed (SIGKILL) at random moments and the pipeline started again, in the way
that docs/cluster.md gives for a run that restarts by itself. Victims are whatever is there: `dvc`,
stages, Ray's workers and daemons, the processes that make shards or load batches, MLflow's writer.
A kind is drawn first, so that the few are hit as often as the many.

At the end every file must have the bytes that it has in the other copy, no MLflow run may be
RUNNING, every model must be registered, `dvc status` must be clean, and no process may be left.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.helpers import tiny

ROOT = Path(__file__).resolve().parents[1]
OUTPUTS = ("data", "runs", "results")
MOST_FAILURES = 3  # of the pipeline, one after another, while nothing is killed
PATIENCE = 120.0  # seconds that what still runs at the end has to end
# What a process is, by a part of its command line; the first that fits.
KINDS = {
    "pipeline.tracking.writer": "tracking writer",
    "-m stages.": "stage",
    "ray::": "Ray worker",
    "raylet": "Ray daemon",
    "gcs_server": "Ray daemon",
    "ray/": "Ray daemon",
    "multiprocessing": "helper of a stage",
    "pt_data_worker": "helper of a stage",
    "/dvc ": "dvc",
}


def main(words: Sequence[str]) -> None:
    """Print what was killed and what differs; exit status 1 if anything does."""
    options = _options(words)
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=options.folder))
    print(f"{folder}: commit {_head()}, seed {options.seed}", flush=True)
    alone = make_project(ROOT, folder / "alone")
    start = time.monotonic()
    if _repro(alone, options.targets).wait():
        raise SystemExit(f"the run that was left alone failed: {alone / 'repro.log'}")
    seconds = time.monotonic() - start
    print(f"left alone: {seconds:.0f} s", flush=True)
    pause = 2 * seconds / options.kills
    draw, victims, rounds = random.Random(options.seed), Counter[str](), 0
    faults: list[str] = []
    while victims.total() < options.kills and not faults:
        rounds += 1
        killed = make_project(alone, folder / f"killed-{rounds}")  # of the same commit
        left = options.kills - victims.total()
        victims += kill_until_done(killed, options.targets, draw, left, pause)
        faults = list(differences(alone, killed, options.targets))
    print(f"{victims.total()} kills in {rounds} runs, {time.monotonic() - start:.0f} s in all:")
    for kind, count in victims.most_common():
        print(f"  {count:4} {kind}")
    for fault in faults:
        print(f"fault: {fault}")
    if faults:
        raise SystemExit(f"see {folder}")
    print(f"{len(digests(alone))} files, equal in every byte; nothing to mend by hand")
    shutil.rmtree(folder)


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to work; default: the system's")
    parser.add_argument("targets", nargs="*", help="stages, as for `dvc repro`; default: all")
    return parser.parse_args(words)


def _head() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.check_output(command, cwd=ROOT, text=True).strip()


def make_project(origin: Path, folder: Path) -> Path:
    """A clone of a checkout with tiny parameters and as many kinds of processes as there are."""
    subprocess.run(["git", "clone", "--quiet", str(origin), str(folder)], check=True)
    tree = tiny.settings()
    tree["pool"] |= {"workers": 2}
    tree["pretrain"]["budgets"]["main"] |= {"num_workers": 2}  # Ray takes half a minute to start
    tree["pretrain"]["common"]["loop"] |= {"gradient_accumulation": 2, "loader_workers": 1}
    tree["finetune"]["vqa"] |= {"num_workers": 2}
    tree["finetune"]["vqa"]["loop"] = {**tiny.LOOP, "gradient_accumulation": 2}
    tiny.write(folder, tree)
    return folder


def _repro(project: Path, targets: Sequence[str]) -> subprocess.Popen:
    """`make repro`'s two commands, in a session of their own."""
    command = 'python -m stages.integrity mend && exec dvc repro "$@"'
    variables = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(project),
    }
    with open(project / "repro.log", "a") as log:
        return subprocess.Popen(
            ["sh", "-c", command, "sh", *targets],
            cwd=project,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def kill_until_done(
    project: Path, targets: Sequence[str], draw: random.Random, kills: int, pause: float
) -> Counter[str]:
    """Run the pipeline to its end through at most so many kills, with at most `pause` seconds
    between two; how many of each kind.

    Raises:
        SystemExit: it fails again and again although nothing is killed.
    """
    victims: Counter[str] = Counter()
    failures = 0  # in a row, without a kill
    while failures < MOST_FAILURES:
        run, kills_before = _repro(project, targets), victims.total()
        while victims.total() < kills and not _ended(run, draw.uniform(0, pause)):
            victims.update(_kill_one(project, draw))
        if run.wait() == 0:
            return victims
        failures = failures + 1 if victims.total() == kills_before else 0
    raise SystemExit(f"fails by itself, see {project / 'repro.log'}")


def _ended(run: subprocess.Popen, seconds: float) -> bool:
    """Whether a process ends within so many seconds."""
    try:
        run.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill_one(project: Path, draw: random.Random) -> list[str]:
    """Kill a process of the project; its kind, or nothing if there was none."""
    by_kind: dict[str, list[int]] = {}
    for number, kind in processes(project):
        by_kind.setdefault(kind, []).append(number)
    if not by_kind:
        return []
    kind = draw.choice(sorted(by_kind))
    try:
        os.kill(draw.choice(by_kind[kind]), signal.SIGKILL)
    except ProcessLookupError:
        return []
    return [kind]


def processes(project: Path) -> Iterator[tuple[int, str]]:
    """Number and kind of each process that works in the project's folder, but for shells."""
    for entry in sorted(Path("/proc").glob("[0-9]*")):
        try:
            if Path(os.readlink(entry / "cwd")) != project.resolve():
                continue
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue  # it has ended
        for part, kind in KINDS.items():
            if part in words:
                yield int(entry.name), kind
                break


def differences(alone: Path, killed: Path, targets: Sequence[str]) -> Iterator[str]:
    """What the kills have left behind, a line each."""
    yield from _left_running(killed)
    yield from file_faults(alone, killed)
    status = subprocess.run(
        [str(Path(sys.executable).with_name("dvc")), "status", *targets],
        cwd=killed,
        capture_output=True,
        text=True,
        check=False,
    )
    if "up to date" not in status.stdout:
        yield f"dvc status: {' '.join((status.stdout + status.stderr).split())[:300]}"
    yield from _tracking_faults(alone, killed)


def file_faults(alone: Path, killed: Path) -> Iterator[str]:
    """Outputs of one project that are missing or have other bytes in the other one."""
    expected, found = digests(alone), digests(killed)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield f"{name}: missing"
        elif name not in expected:
            yield f"{name}: too many"
        elif expected[name] != found[name]:
            yield f"{name}: other bytes"


def digests(project: Path) -> dict[str, str]:
    """SHA-256 of every output of the pipeline."""
    paths = [path for top in OUTPUTS for path in [project / top, *(project / top).rglob("*")]]
    digest = {}
    for path in sorted(filter(Path.is_file, paths)):
        name = path.relative_to(project).as_posix()
        digest[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digest


def _left_running(project: Path) -> Iterator[str]:
    """Processes that have not ended after a while: the tracking writer waits for another stage."""
    end = time.monotonic() + PATIENCE
    while left := list(processes(project)):
        if time.monotonic() > end:
            for number, kind in left:
                yield f"process {number} is left: {kind}"
            return
        time.sleep(1)


def _tracking_faults(alone: Path, killed: Path) -> Iterator[str]:
    """Runs that are RUNNING; runs that never FINISHED and models that are not registered, of those
    that the undisturbed project has."""
    spool = killed / ".work" / "tracking"
    for path in sorted(spool.glob("*/records.jsonl")):
        yield f"MLflow lacks {path.parent.name}"
    for (name,) in _rows(killed, "SELECT name FROM runs WHERE status = 'RUNNING'"):
        yield f"MLflow run {name!r} is RUNNING"
    for what, query in (
        ("finished run", "SELECT DISTINCT name FROM runs WHERE status = 'FINISHED'"),
        ("model", "SELECT DISTINCT name FROM model_versions"),
    ):
        for (name,) in sorted(_rows(alone, query) - _rows(killed, query)):
            yield f"MLflow has no {what} {name!r}"


def _rows(project: Path, query: str) -> set[tuple]:
    with sqlite3.connect(f"file:{project / 'mlflow.db'}?mode=ro", uri=True) as database:
        return set(database.execute(query))


if __name__ == "__main__":
    main(sys.argv[1:])
