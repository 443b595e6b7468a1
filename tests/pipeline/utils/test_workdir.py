"""Work folders: found again by parameters and data, guarded against changed code, removed once DVC
has recorded the result."""

from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.utils import workdir


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("RESUME", raising=False)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/a.py").write_text("a = 1\n")
    (tmp_path / "data").write_text("data")
    return tmp_path


def folder(seed=1):
    return workdir.folder("small/pretrain/main", {"params": {"seed": seed}}, [Path("data")])


def test_the_same_params_and_data_find_the_same_folder(project):
    first = folder()
    assert folder() == first and folder(seed=2) != first
    (project / "data").write_text("other")
    assert folder() != first


def test_a_missing_input_is_named(project):
    (project / "data").unlink()
    with pytest.raises(UserError, match="^data: not found; run the stage that makes it"):
        folder()


def test_another_number_of_workers_resumes_the_same_work():
    def name(workers):
        params = {"variant": {"steps": 1, "num_workers": workers, "threads": workers}}
        return workdir.fingerprint("paper/pretrain/main", params, [])

    assert name(16) == name(8)


@pytest.mark.parametrize("key", ["log_every", "checkpoint_every", "loader_workers", "threads"])
def test_when_to_log_and_save_is_no_part_of_the_work(key):
    first, second = ({"loop": {key: value, "evaluate_every": 1}} for value in (1, 2))
    assert workdir.fingerprint("a", first, []) == workdir.fingerprint("a", second, [])
    second["loop"]["evaluate_every"] = 2  # decides of which steps the best is chosen
    assert workdir.fingerprint("a", first, []) != workdir.fingerprint("a", second, [])


def test_work_folders_lie_below_dvc_root(project, monkeypatch, tmp_path_factory):
    original = tmp_path_factory.mktemp("original")
    monkeypatch.setenv("DVC_ROOT", str(original))
    assert folder().is_relative_to(original / ".work")


def test_work_of_changed_code_is_resumed_only_on_request(project, monkeypatch):
    (folder() / "checkpoint-1.pt").write_text("half")
    (project / "model/a.py").write_text("a = 2\n")
    with pytest.raises(UserError, match=r"\(model/a.py\); RESUME=changed-code"):
        folder()
    monkeypatch.setenv("RESUME", "changed-code")
    assert (folder() / "checkpoint-1.pt").exists()


def test_changed_code_does_not_matter_before_the_first_file(project):
    folder()
    (project / "model/a.py").write_text("a = 2\n")
    folder()


def test_two_processes_do_not_share_a_work_folder(project):
    work_dir = folder()
    with (
        FileLock(work_dir / "lock"),
        pytest.raises(UserError, match="another process works here"),
        workdir.locked(work_dir, timeout=0.1),
    ):
        pass


def test_finished_work_is_hard_linked_and_removed_once_dvc_lock_records_it(project):
    work_dir = folder()
    finished = workdir.finished(work_dir)
    (finished / "model").mkdir()
    (finished / "model/weights").write_text("w")
    (finished / "curve").write_text("c")
    out = project / "runs/small/pretrain/main"
    workdir.publish(work_dir, out.relative_to(project))
    assert (out / "model/weights").samefile(finished / "model/weights")
    workdir.clean()
    assert work_dir.exists(), "DVC has not recorded it yet"
    lock = project / "dvc.lock"
    for hash_of_curve in (
        "0" * 32,
        "4a8a08f09d37b73795649038408b5f33",
    ):  # another curve's, then that of "c"
        assert work_dir.exists()
        lock.write_text(
            "stages:\n  pretrain@main:\n    outs:\n"
            "    - {path: runs/small/pretrain/main/model, md5: x.dir, size: 1, nfiles: 1}\n"
            f"    - {{path: runs/small/pretrain/main/curve, md5: '{hash_of_curve}', size: 1}}\n"
        )
        workdir.clean()
    assert not work_dir.exists() and (out / "model/weights").read_text() == "w"


DAMAGED = [b"", b"\0" * 40, b"\xff\xfe", b'{"outs": ["da', b"[" * 99999, b"null", b'{"outs": 3}']


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_note_of_what_is_published_keeps_the_work(project, content, capsys):
    note = folder() / "published.json"
    note.write_bytes(content)
    workdir.clean()
    assert note.parent.exists() and not note.exists()
    assert "published.json: damaged, removed" in capsys.readouterr().err


@pytest.mark.parametrize("content", [*DAMAGED, b"[]"])
def test_a_damaged_record_of_the_code_is_changed_code(project, content, monkeypatch):
    work_dir = folder()
    (work_dir / "checkpoint-1.pt").write_text("half")
    (work_dir / "code.json").write_bytes(content)
    with pytest.raises(UserError, match="RESUME=changed-code resumes it"):
        folder()
    monkeypatch.setenv("RESUME", "changed-code")
    folder()


@given(content=st.binary(max_size=60) | st.sampled_from([b"stages: [1]", b"[" * 9999, b"a: b"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_is_removed_where_dvc_lock_is_half_written_or_damaged(project, content):
    """As another stage's `dvc` leaves it for a moment."""
    (project / "dvc.lock").write_bytes(content)
    work_dir = folder()
    workdir.finished(work_dir)
    (work_dir / "finished/curve").write_text("c")
    workdir.publish(work_dir, Path("runs/small/finetune/vqa"))
    workdir.clean()
    assert work_dir.exists()
