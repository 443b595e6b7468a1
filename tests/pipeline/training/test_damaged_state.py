"""What a run does with damaged files in its work folder: it goes back to what is whole, or stops,
and never publishes other bytes."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model import checkpoint
from pipeline.errors import UserError
from pipeline.tracking.client import Run
from pipeline.training import checked_files, curves
from pipeline.training.loop import train
from pipeline.training.train_state import checkpoints
from tests.helpers.toy import MaskedToy
from tests.pipeline.training.test_loop import LOOP, OPTIM, Killed, replace

SCORES = {2: 0.1, 4: 0.5, 6: 0.9, 8: 0.3, 10: 0.2, 12: 0.95}


class Scored(MaskedToy):
    """A task whose best evaluations are those of steps 2, 4, 6 and 12."""

    def __init__(self, death=None):
        super().__init__()
        self.death = death
        self.step = 0

    def __getitem__(self, micro_batch):
        self.step = micro_batch.step + 1
        if micro_batch.step == self.death:
            raise Killed
        return super().__getitem__(micro_batch)

    def evaluate(self):
        return {"score": SCORES[self.step]}


def run(folder, death=None):
    """The bytes that a run to its end publishes: the model and the curve."""
    task = Scored(death)
    loop = replace(LOOP, evaluate_every=2)
    train(task, OPTIM, loop, folder, Run(None))
    checkpoint.save(task.model, folder / "model")
    return (folder / "model/model.safetensors").read_bytes(), (folder / curves.JSONL).read_bytes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The work folder of a run that was killed at step 11, with the checkpoints of steps 4 and
    8."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(Killed):
        run(folder, death=10)
    return folder


@pytest.fixture
def folder(killed, tmp_path):
    return Path(shutil.copytree(killed, tmp_path / "work"))


def only(folder, pattern):
    [path] = folder.glob(pattern)
    return path


def flip(path, bit):
    data = bytearray(path.read_bytes())
    bit %= 8 * len(data)
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def damage(kind, path):
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "half": path.read_bytes()[:-99], "zeros": bytes(999)}[kind])


DAMAGE = ("empty", "half", "zeros", "missing")


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_last_checkpoint_is_passed_over_for_the_one_before(
    folder, undisturbed, kind, capsys
):
    damage(kind, only(folder, "checkpoint-00000008-*.pt"))
    assert run(folder) == undisturbed
    shown = capsys.readouterr().err
    assert "resumed at step 4 of 12" in shown
    assert ("looking for an older checkpoint" in shown) == (kind != "missing")


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_best_weights_are_made_again_from_before_them(folder, undisturbed, kind, capsys):
    """The best of the last checkpoint is that of step 6, and the checkpoint of step 4 has its
    own."""
    damage(kind, only(folder, "best-00000006-*.pt"))
    assert run(folder) == undisturbed
    assert "resumed at step 4 of 12" in capsys.readouterr().err


@pytest.mark.parametrize("pattern", ["checkpoint-*.pt", "best-*.pt"])
def test_without_anything_whole_the_run_stops_and_says_what_to_remove(folder, pattern):
    for path in folder.glob(pattern):
        flip(path, 4321)
    with pytest.raises(UserError, match=r"work: no whole checkpoint is left; .*remove this folder"):
        run(folder)


def test_best_weights_lost_after_the_last_step_are_made_again(tmp_path, undisturbed):
    run(tmp_path)
    only(tmp_path, "best-00000012-*.pt").unlink()
    assert run(tmp_path) == undisturbed


def test_weights_that_no_kept_checkpoint_knows_are_removed(tmp_path, killed):
    assert [path.name[:13] for path in sorted(killed.glob("best-*"))] == [
        "best-00000004",
        "best-00000006",
    ]
    run(tmp_path)
    assert [path.name[:13] for path in sorted(tmp_path.glob("best-*"))] == [
        "best-00000006",
        "best-00000012",
    ]


@pytest.mark.parametrize("content", [b"{\n", b"\xff\n", b"[1]\n", b"null\n", b"[" * 99999 + b"\n"])
def test_a_damaged_curve_is_written_anew_from_the_checkpoint(folder, undisturbed, content, capsys):
    (folder / curves.JSONL).write_bytes(content)
    assert run(folder) == undisturbed
    assert "line 1 is damaged; written anew from the checkpoint" in capsys.readouterr().err


def test_a_checkpoint_of_another_model_ends_in_one_line(folder):
    path = only(folder, "checkpoint-00000008-*.pt")
    state = checked_files.load(path)
    checked_files.save({**state, "model": {"x": torch.zeros(1)}}, folder, "checkpoint-00000008")
    with pytest.raises(UserError, match=r"checkpoint-00000008-.*: does not fit the model \("):
        run(folder)


@given(st.integers(min_value=0))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_flipped_bit_of_a_saved_file_is_found(tmp_path, bit):
    path = checked_files.save({"x": torch.arange(9.0)}, tmp_path, "checkpoint-00000001")
    flip(path, bit)
    with pytest.raises(UserError, match="damaged, its checksum differs"):
        checked_files.load(path)


def test_saving_again_replaces_the_file_of_the_same_step(tmp_path):
    for value in (1.0, 2.0):
        checked_files.save({"x": torch.tensor(value)}, tmp_path, "checkpoint-00000001")
    assert checked_files.load(*checkpoints(tmp_path))["x"] == 2
