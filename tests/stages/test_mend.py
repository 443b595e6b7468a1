"""What a killed `dvc` leaves is mended, and nothing runs again."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import dvc_project, tiny
from tests.helpers.dvc_project import dvc, python, succeed


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return dvc_project.make(tmp_path_factory.mktemp("mend") / "project")


@pytest.fixture
def project(made):
    with dvc_project.restored(made):
        yield made


def mend(project: Path) -> str:
    return succeed(project, "-m", "stages.integrity", "mend")


def assert_nothing_runs_again(project: Path, lock: bytes) -> None:
    ran = (project / "ran").read_bytes()
    dvc(project, "repro")
    assert (project / "ran").read_bytes() == ran
    assert (project / "dvc.lock").read_bytes() == lock


def test_a_whole_project_is_left_alone(project):
    assert mend(project) == ""


@pytest.mark.parametrize(
    "content", ["", "\0" * 300, "schema: '2.0'\nstages:\n  first:\n    c", "[]"]
)
def test_a_torn_lock_file_is_set_aside_and_comes_back_from_the_run_cache(project, content):
    lock = project / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_text(content)
    assert "dvc.lock: damaged, set aside as .dvc/tmp/dvc.lock.damaged" in mend(project)
    assert (project / ".dvc/tmp/dvc.lock.damaged").read_text() == content
    assert_nothing_runs_again(project, whole)


@pytest.mark.parametrize(
    "content",
    ["", '{"write": {"/x', "[]", '{"read": {}, "write": {"/x": {"pid": 1, "cmd": "dvc"}}}'],
)
def test_locks_of_a_killed_dvc_are_removed(project, content):
    """Process 1 lives, as may any whose number a killed `dvc` had; it is no `dvc`."""
    rwlock = project / ".dvc/tmp/rwlock"
    rwlock.write_text(content)
    assert ".dvc/tmp/rwlock: removed" in mend(project)
    assert_nothing_runs_again(project, (project / "dvc.lock").read_bytes())


def test_a_half_written_record_of_a_run_hides_no_whole_one(project):
    lock = project / "dvc.lock"
    whole = lock.read_bytes()
    for folder in (project / ".dvc/cache/runs").glob("*/*"):
        (folder / ".x.tmp").write_text('cmd: "x')
    lock.unlink()
    assert mend(project).count("a record of a run that was not written to its end") == 2
    assert_nothing_runs_again(project, whole)


def test_a_conflict_of_git_is_the_users_to_resolve(project):
    lock = project / "dvc.lock"
    content = "<<<<<<< HEAD\n" + lock.read_text()
    lock.write_text(content)
    status, printed = python(project, "-m", "stages.integrity", "mend")
    assert status == 1 and "error: dvc.lock: holds a conflict of git's; take one side" in printed
    assert lock.read_text() == content


def test_nothing_is_touched_beside_a_dvc_at_work(project):
    rwlock = project / ".dvc/tmp/rwlock"
    rwlock.write_text("torn")
    (project / "dvc").write_text("import time; print(flush=True); time.sleep(100)")
    with subprocess.Popen([sys.executable, "dvc"], cwd=project, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        printed = mend(project)
        process.kill()
    assert f"`dvc` is at work here (process {process.pid})" in printed
    assert rwlock.read_text() == "torn"
    assert "rwlock: removed" in mend(project)


def test_make_repro_begins_with_it():
    recipe = (tiny.ROOT / "Makefile").read_text().partition("\nrepro:")[2]
    assert recipe.index("stages.integrity mend") < recipe.index("dvc repro\n")
