"""`make` sets up its environment whatever other environments, files and folders are like."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

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

# Stands for a Python of some version; as TOOL, but `-c` sees that version.
PYTHON = TOOL.replace('"$REAL" "$@"', '"$REAL" -c "import sys; sys.version_info = {version}; $2"')
assert PYTHON != TOOL
NAMES = ("python3.11", "python3.12", "python3.13", "python3")


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
    done = run_make(project, "PYTHON=./python", target, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout, log.read_text() if log.exists() else ""


def run_make(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "LOG": str(project / "log"),
        "REAL": sys.executable,
        "CACHE": str(project / "cache"),
        "GIT_CEILING_DIRECTORIES": str(project.parent),
        **variables,
    }
    return subprocess.run(
        ["make", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def make_with(project: Path, pythons: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """`make install` where PATH begins with Pythons of these versions by name; those not listed do
    not run. The exit status, stdout and stderr."""
    folder = project / "pythons"
    folder.mkdir(exist_ok=True)
    for name in NAMES:
        version = pythons.get(name, "0.0").replace(".", ", ")
        text = (
            PYTHON.format(version=f"({version}, 0)") if name in pythons else "#!/bin/sh\nexit 127\n"
        )
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    done = run_make(project, "install", *arguments, PATH=path)
    return done.returncode, done.stdout, done.stderr


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
        UV_TORCH_BACKEND="cpu",
    )
    uv = log[log.index("uv pip") :]
    assert {
        "UV_DEFAULT_INDEX=https://i",
        "UV_INDEX=https://e",
        "UV_FIND_LINKS=/w",
        "UV_NO_INDEX=1",
        "SSL_CERT_FILE=/c.pem",
        "UV_TORCH_BACKEND=cpu",
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


@pytest.mark.parametrize(
    "pythons, taken",
    [
        ({"python3.11": "3.11", "python3.13": "3.13", "python3": "3.12"}, "python3.11"),
        ({"python3.12": "3.12", "python3.13": "3.13"}, "python3.12"),
        ({"python3": "3.14", "python3.13": "3.13"}, "python3.13"),
        ({"python3": "3.12"}, "python3"),
    ],
)
def test_the_first_python_that_fits_is_taken(project, pythons, taken):
    status, output, error = make_with(project, pythons)
    assert status == 0, error
    assert f"{taken} -m venv --clear .venv" in output
    assert f"{taken} -m venv" in (project / "log").read_text()


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_versions_are_those_of_the_project_file(project, version):
    requires = tomllib.loads((project / "pyproject.toml").read_text())["project"]["requires-python"]
    status, _, error = make_with(project, {"python3": version})
    assert (status == 0) == SpecifierSet(requires).contains(version)
    if status != 0:
        line = error.splitlines()[0]
        assert line.startswith("no Python 3.11, 3.12 or 3.13") and line.endswith("PYTHON=...")
        assert not (project / ".venv").exists()


def test_a_python_that_is_named_is_taken(project):
    status, output, error = make_with(project, {"python3.11": "3.11"}, "PYTHON=./python")
    assert status == 0, error
    assert "./python -m venv --clear .venv" in output


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
