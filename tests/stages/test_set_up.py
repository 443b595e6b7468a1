"""`make` sets up its environment whatever other environments, files and folders are like."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.tiny import ROOT

# Stands for Python, uv, pip, dvc: writes down its arguments and variables; `-m venv` makes it anew.
TOOL = """#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
env | grep -E '^(PIP|UV|PYTHON|VIRTUAL|CONDA|SSL)' >> "$LOG"
case "$*" in
  *"-m venv"*) mkdir -p .venv/bin; for name in python uv dvc; do cp "$0" .venv/bin/$name; done;;
  "cache dir") echo "$CACHE";;
  "-c "*) exec "$REAL" "$@";;
esac
"""


@pytest.fixture
def project(tmp_path):
    """A project whose tools are all TOOL, in a folder with a blank in its name."""
    folder = tmp_path / "my pröject"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "params.yaml"):
        shutil.copy(ROOT / name, folder)
    (folder / "pipeline").symlink_to(ROOT / "pipeline")
    (folder / "python").write_text(TOOL)
    (folder / "python").chmod(0o755)
    return folder


def make(project: Path, target: str, **variables: str) -> tuple[str, str]:
    """What `make` printed, and the log of the tools."""
    log = project / "log"
    log.unlink(missing_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "LOG": str(log),
        "REAL": sys.executable,
        "CACHE": str(project / "cache"),
        "GIT_CEILING_DIRECTORIES": str(project.parent),
        **variables,
    }
    done = subprocess.run(
        ["make", "PYTHON=./python", target],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, log.read_text() if log.exists() else ""


def test_packages_go_to_the_environment_whatever_pip_and_python_are_told(project):
    _, log = make(
        project,
        ".venv/.installed",
        PIP_USER="1",
        PIP_TARGET="/t",
        PIP_PREFIX="/t",
        PIP_CONSTRAINT="/none.txt",
        PYTHONHOME="/usr",
        PYTHONPATH="/other/site-packages",
        VIRTUAL_ENV="/other",
        CONDA_PREFIX="/other",
        UV_SYSTEM_PYTHON="1",
    )
    assert "uv pip install --python .venv/bin/python" in log
    assert "PIP_USER=0" in log and "PIP_USER=1" not in log
    assert not any(word in log for word in ("/t", "/none.txt", "/usr", "/other"))


def test_uv_looks_where_pip_looks(project):
    _, log = make(
        project,
        ".venv/.installed",
        PIP_INDEX_URL="https://i",
        PIP_EXTRA_INDEX_URL="https://e",
        PIP_FIND_LINKS="/w",
        PIP_NO_INDEX="true",
        PIP_CERT="/c.pem",
    )
    uv = log[log.index("uv pip") :]
    assert {
        "UV_DEFAULT_INDEX=https://i",
        "UV_INDEX=https://e",
        "UV_FIND_LINKS=/w",
        "UV_NO_INDEX=1",
        "SSL_CERT_FILE=/c.pem",
    } <= set(uv.splitlines())
    (project / ".venv/.installed").unlink()
    assert "UV_DEFAULT_INDEX" not in make(project, ".venv/.installed")[1]


def test_a_cache_that_cannot_be_written_is_done_without(project):
    assert "UV_NO_CACHE" not in make(project, ".venv/.installed")[1]
    (project / ".venv/.installed").unlink()
    (project / "file").touch()
    _, log = make(project, ".venv/.installed", CACHE=str(project / "file/uv"))
    assert "UV_NO_CACHE=1" in log[log.index("uv pip") :]


def test_half_an_environment_is_made_anew(project):
    (project / ".venv/bin").mkdir(parents=True)
    assert "python -m venv --clear .venv" in make(project, ".venv/.installed")[1]


def test_dvc_is_told_that_there_is_no_git(project):
    output, log = make(project, "scm")
    assert "dvc config --local core.no_scm true" in log and "no git repository" in output
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    output, log = make(project, "scm")
    assert "dvc config --local --unset core.no_scm" in log and "no git" not in output


@pytest.mark.parametrize(
    "old, new, encoding",
    [
        ("scale: small", 'scale: "small"', "utf-8"),
        ("scale: small", "'scale' :   'small'", "utf-8-sig"),
        ("\n", "\r\n", "utf-8-sig"),
    ],
)
def test_the_tables_of_the_scale_are_printed_however_it_is_written(project, old, new, encoding):
    text = (project / "params.yaml").read_text()
    assert old in text
    (project / "params.yaml").write_bytes(text.replace(old, new).encode(encoding))
    (project / "results/small/tables").mkdir(parents=True)
    (project / "results/small/tables/vqa.md").write_text("| the table |\n")
    output, log = make(project, "repro")
    assert "| the table |" in output and "pipeline.orchestration.repro" in log
