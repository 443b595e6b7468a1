"""`make verify` finds every damaged file, and the command that it prints mends it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.data.shards import parquet, schema
from tests.helpers import dvc_project
from tests.helpers.dvc_project import dvc, python


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return dvc_project.make(tmp_path_factory.mktemp("verify") / "project")


@pytest.fixture
def project(made):
    with dvc_project.restored(made):
        yield made


def flip(path: Path) -> None:
    """A bit changes, and neither the file's time nor its mode does: DVC takes it for unchanged."""
    facts = path.stat()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with open(path, "r+b") as file:  # the same inode
        file.write(data)
    path.chmod(facts.st_mode)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def unlinked(path: Path) -> None:
    """A file of its own, no link to DVC's cache."""
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def stored(project: Path, name: str) -> Path:
    """The object of a file in DVC's cache."""
    objects = (project / ".dvc/cache/files/md5").glob("??/*")
    content = (project / name).read_bytes()
    return next(path for path in objects if path.read_bytes() == content)


def verify(project: Path) -> tuple[int, str]:
    return python(project, "-m", "stages.integrity", "verify")


def mended(project: Path, printed: str) -> bool:
    """Run the commands that were printed, and look again."""
    for line in printed.splitlines():
        if command := re.search("`(.*)`", line):
            subprocess.run(command[1], shell=True, cwd=project, check=True, capture_output=True)
    return verify(project)[0] == 0


def test_a_whole_project_is_whole_and_files_of_two_names_are_read_once(project):
    assert verify(project) == (0, "checked 4 files of 0.00 GB\n")  # x, y, text and the list of out


@pytest.mark.parametrize("name", ["out/x", "text"])
def test_a_damaged_output_that_is_a_link_into_the_cache_is_made_again(project, name):
    before = (project / name).read_bytes()
    dvc(project, "status")  # it knows the times and sizes from now on
    flip(project / name)
    assert "Data and pipelines are up to date" in dvc(project, "status")
    status, printed = verify(project)
    stage = {"out/x": "first", "text": "second"}[name]
    assert status == 1 and "error: 1 damaged" in printed
    assert re.search(f"^{name}: not what {stage} made; `rm -f .* && dvc repro {stage}`", printed)
    assert mended(project, printed) and (project / name).read_bytes() == before


def test_a_damaged_output_of_its_own_comes_from_the_cache(project):
    unlinked(project / "out/x")
    flip(project / "out/x")
    status, printed = verify(project)
    assert status == 1 and "`rm -f out/x && dvc checkout out`" in printed
    assert mended(project, printed) and (project / "out/x").read_text() == "1\n"
    assert (project / "ran").read_text() == "first\nsecond\n"


def test_a_damaged_object_of_the_cache_is_replaced_by_the_output(project):
    rotten = stored(project, "out/x")
    unlinked(project / "out/x")
    flip(rotten)
    status, printed = verify(project)
    assert status == 1 and f"{rotten.relative_to(project)}: a damaged object" in printed
    assert "dvc commit -f first" in printed
    assert mended(project, printed)
    assert (project / "ran").read_text() == "first\nsecond\n"


def test_a_damaged_object_that_nothing_uses_is_named(project):
    stray = project / ".dvc/cache/files/md5/ab/cdef0123456789abcdef0123456789"
    stray.parent.mkdir(exist_ok=True)
    stray.write_text("x")
    status, printed = verify(project)
    assert status == 1 and f"`rm -f {stray.relative_to(project)}`" in printed
    assert mended(project, printed)


def test_a_damaged_list_of_a_folder_is_made_again(project):
    [listing] = (project / ".dvc/cache/files/md5").glob("??/*.dir")
    flip(listing)
    status, printed = verify(project)
    assert status == 1 and str(listing.relative_to(project)) in printed
    assert mended(project, printed)


def test_a_damaged_output_is_pulled_where_there_is_a_remote(project):
    dvc(project, "remote", "add", "-d", "store", str(project.parent / "store"))
    dvc(project, "push")
    flip(project / "out/y")
    status, printed = verify(project)
    assert status == 1 and "dvc pull first" in printed
    assert mended(project, printed) and (project / "out/y").read_text() == "2\n"
    assert (project / "ran").read_text() == "first\nsecond\n"


def test_shards_are_compared_with_their_index(project):
    folder = project / "data/small/shards/coco"
    rows = [{"key": "a", "sentences": ["One."]}]
    entries = parquet.write(
        folder, "train", rows, schema.TEXT_SHARD, rows_per_group=1, groups_per_file=1
    )
    parquet.write_index(folder, {"train": entries})
    assert verify(project)[0] == 0
    flip(folder / "train-00000.parquet")
    status, printed = verify(project)
    assert status == 1 and "train-00000.parquet: not what data/small/shards/coco/index" in printed
    (folder / "train-00000.parquet").unlink()
    assert "train-00000.parquet: missing" in verify(project)[1]
