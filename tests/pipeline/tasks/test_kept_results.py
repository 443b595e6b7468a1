"""What a long evaluation keeps, says and leaves."""

import json

import pytest
import torch

from pipeline.errors import UserError
from pipeline.tasks.kept_results import KeptResults, of_evaluation
from pipeline.utils import progress

BATCHES = [torch.arange(4.0) + 10 * number for number in range(5)]


def computed(folder, every=0.0, stop=None):
    """The results of `BATCHES`, and the numbers of the batches that were computed; before batch
    `stop` the work is interrupted."""
    asked = []

    def function(batch):
        number = int(batch[0]) // 10
        if number == stop:
            raise KeyboardInterrupt
        asked.append(number)
        return batch.sqrt(), torch.stack([batch > 2, batch > 3], dim=1)

    results = []
    try:
        for batch, outputs in KeptResults(folder, every).map_of("some images", 20)(
            function, BATCHES
        ):
            results.append((batch, *outputs))
    except KeyboardInterrupt:
        pass
    return results, asked


def test_nothing_is_computed_twice_and_results_are_the_same(tmp_path):
    whole, _ = computed(tmp_path / "none", every=60.0)
    assert len(whole) == 5
    assert computed(tmp_path, stop=2)[1] == [0, 1]
    assert computed(tmp_path, stop=3)[1] == [2]
    results, asked = computed(tmp_path)
    assert asked == [3, 4]
    for one, other in zip(results, whole, strict=True):
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def test_what_is_damaged_is_computed_again(tmp_path, capsys):
    whole, _ = computed(tmp_path)
    damaged = sorted(tmp_path.glob("some-images-*"))[3]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    results, asked = computed(tmp_path)
    assert asked == [3, 4] and "computed again" in capsys.readouterr().err
    assert all(torch.equal(a[1], b[1]) for a, b in zip(results, whole, strict=True))


def test_a_short_evaluation_writes_and_says_nothing(tmp_path, capsys):
    computed(tmp_path, every=60.0)
    assert list(tmp_path.iterdir()) == [] and capsys.readouterr().err == ""


def test_progress_goes_on_after_what_was_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "LOG_EVERY", 0.0)
    computed(tmp_path, stop=3)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        f"some images: {done} of 20" for done in (4, 8, 12)
    ]
    assert all(line.endswith(" left") for line in lines)
    computed(tmp_path)
    assert capsys.readouterr().err.startswith("some images: 16 of 20")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / "index.json").write_text("{}")
    (tmp_path / "out.json").write_text("{}")
    return tmp_path


def kept_by(project, params):
    return of_evaluation(
        "small/evaluate/x", params, [project / "index.json"], [project / "out.json"]
    )


def test_a_short_evaluation_leaves_no_work_folder(project):
    with kept_by(project, {"batch": 1}) as kept:
        assert kept.folder.is_dir()
    assert list((project / ".work").iterdir()) == []


def test_work_stays_until_dvc_has_recorded_the_outputs(project):
    with pytest.raises(UserError), kept_by(project, {"batch": 1}) as kept:
        computed(kept.folder, stop=2)
        raise UserError("killed")
    with kept_by(project, {"batch": 1}) as kept:
        assert computed(kept.folder)[1] == [2, 3, 4]
    note = json.loads((kept.folder / "published.json").read_text())
    assert note["outs"] == [(project / "out.json").as_posix()]


def test_other_parameters_are_other_work(project):
    with pytest.raises(UserError), kept_by(project, {"batch": 1}) as kept:
        computed(kept.folder, stop=2)
        raise UserError("killed")
    with kept_by(project, {"batch": 2}) as kept:
        assert computed(kept.folder)[1] == [0, 1, 2, 3, 4]
