"""Training functions run in process and on Ray workers, and fail in one line."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.orchestration import ray_train
from pipeline.orchestration.ray_train import _scaling, _user_error, launch
from pipeline.utils import machine_errors, surroundings
from tests.helpers import ray_entries


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; the variables that Ray and `launch` set are forgotten
    afterwards."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    yield tmp_path
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


def test_in_process(folder: Path) -> None:
    import torch

    threads = torch.get_num_threads()
    launch(ray_entries.note, {"word": "here"}, num_workers=0, threads=1)
    torch.set_num_threads(threads)
    assert (folder / "rank0").read_text() == "1 1 here"


def test_workers_share_a_process_group_and_the_drivers_folder_and_their_errors_arrive(
    folder: Path,
) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match="^params.yaml: small.x: expected int$"):
        launch(ray_entries.note_and_refuse, {"word": "there"}, num_workers=2, threads=1)
    assert [(folder / f"rank{rank}").read_text() for rank in (0, 1)] == ["2 1 there"] * 2
    assert [path.name for path in (folder / ".work").iterdir()] == ["ray.log"]


def test_a_killed_worker_ends_in_one_line(folder: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(
        UserError, match="^training: a worker was killed; run the stage again"
    ) as caught:
        launch(ray_entries.die, {}, num_workers=2, threads=1)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_ray_runs_with_a_long_temporary_folder_and_no_home_and_leaves_no_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    long = folder / ("x" * 120)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    monkeypatch.setenv("HOME", "/proc/nobody")  # where nothing can be written
    surroundings.prepare()
    launch(ray_entries.note, {"word": "there"}, num_workers=1, threads=1)
    assert (folder / "rank0").read_text() == "1 1 there"
    assert list((folder / ".work").iterdir()) == [folder / ".work" / "home"]
    assert list(long.iterdir()) == []


@pytest.mark.parametrize("mute", [False, True])
def test_a_cluster_that_does_not_answer_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mute: bool
) -> None:
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1] if mute else 1}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setattr(ray_train, "CONNECT_TIMEOUT", 3.0)
        with pytest.raises(UserError, match=f"^RAY_ADDRESS {address}: no Ray cluster has answered"):
            launch(ray_entries.note, {"word": "there"}, num_workers=1, threads=1)


def test_a_worker_that_lost_another_one_is_not_the_reason() -> None:
    error = RuntimeError()
    lost = UserError(machine_errors.PEER_LOST)
    error.worker_failures = {0: lost, 1: UserError("data/x: no space")}
    assert str(_user_error(error)) == "data/x: no space"
    error.worker_failures = {0: lost}
    assert str(_user_error(error)) == machine_errors.PEER_LOST


def test_workers_that_cannot_start_are_one_line() -> None:
    error = RuntimeError("controller error:\n no room")
    assert str(_user_error(error)).endswith("could not be started: controller error: no room")


def test_an_exception_is_reported_with_its_rank() -> None:
    error = RuntimeError()
    error.worker_failures = {1: ValueError("one\ntwo")}
    assert str(_user_error(error)) == "training worker 1: ValueError: one two"


def test_workers_take_gpus_where_there_are_any_and_missing_ones_are_an_error() -> None:
    pytest.importorskip("ray")
    assert _scaling(8, {"CPU": 64.0, "GPU": 8.0}).resources_per_worker == {"CPU": 1, "GPU": 1}
    assert _scaling(8, {"CPU": 64.0}).resources_per_worker == {"CPU": 1}
    with pytest.raises(UserError, match="num_workers 16: the Ray cluster has 8 GPUs"):
        _scaling(16, {"CPU": 64.0, "GPU": 8.0})
