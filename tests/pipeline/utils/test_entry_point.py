"""How stages end: one line, an exit status that says why, and no traceback but for bugs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
STAGE = """
import errno, os, signal, sys, time
from pipeline.errors import UserError
from pipeline.utils.entry_point import entry

def refuse(): raise UserError("params.yaml: x: expected int")
def read_only(): raise OSError(errno.EROFS, "Read-only file system", "data/small/x")
def memory(): raise MemoryError
def bug(): {}["k"]
def interrupt(): os.kill(os.getpid(), signal.SIGINT); time.sleep(60)
def terminate():
    try:
        os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)
    finally:
        print("cleaned up", flush=True)
def speak():
    for _ in range(100_000): print("a line")
def long(): print("ready", flush=True); time.sleep(60)
def main(what): globals()[what]()
entry(main)
"""


def command(what: str) -> list[str]:
    return [sys.executable, "-c", STAGE, what]


def run(what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(what), cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("what", "status", "line"),
    [
        ("refuse", 1, "error: params.yaml: x: expected int"),
        ("read_only", 1, "error: data/small/x: read-only file system; it must be"),
        ("memory", 1, "error: memory ran out; use fewer workers"),
        ("interrupt", 130, "error: interrupted; run it again"),
        ("terminate", 143, "error: terminated; run it again"),
    ],
)
def test_one_line_and_a_status(what: str, status: int, line: str) -> None:
    done = run(what)
    assert done.returncode == status
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1


def test_sigterm_cleans_up() -> None:
    assert run("terminate").stdout == "cleaned up\n"


def test_a_bug_keeps_its_traceback() -> None:
    done = run("bug")
    assert done.returncode == 1 and "KeyError: 'k'" in done.stderr and "Traceback" in done.stderr


def test_a_reader_that_ends_early_is_no_error() -> None:
    with subprocess.Popen(
        command("speak"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as stage:
        assert stage.stdout is not None and stage.stderr is not None
        stage.stdout.readline()
        stage.stdout.close()
        assert stage.stderr.read() == b""
    assert stage.returncode == 128 + signal.SIGPIPE


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_output_into_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("speak"), cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "no space left on device" in done.stderr
