"""Mean and spread over seeds, and how the runs with several seeds are made."""

import json
import statistics
import subprocess
from pathlib import Path

import pytest

from pipeline.config import yaml_reader
from pipeline.errors import UserError
from pipeline.orchestration import repro
from pipeline.reporting import seed_statistics
from pipeline.reporting.tables import RowLayout, TableParams
from stages import seeds
from tests.helpers import evaluation_results, tiny

RESULTS = [
    {"flickr30k": {"images": 500, "data": "flickr30k", "dual": {"tr_r1": value}}}
    for value in (0.1, 0.2, 0.6)
]


def test_mean_and_deviation_leave_counts_and_names_alone():
    assert seed_statistics.mean(RESULTS)["flickr30k"]["dual"]["tr_r1"] == pytest.approx(0.3)
    spread = seed_statistics.deviation(RESULTS)["flickr30k"]
    assert spread["dual"]["tr_r1"] == pytest.approx(((0.2**2 + 0.1**2 + 0.3**2) / 2) ** 0.5)
    assert (spread["images"], spread["data"]) == (500, "flickr30k")
    ends = [seed_statistics.lowest(RESULTS), seed_statistics.highest(RESULTS)]
    assert [end["flickr30k"]["dual"]["tr_r1"] for end in ends] == [0.1, 0.6]


def test_the_table_shows_both():
    layout = [RowLayout("VL-BEiT", {"flickr30k_tr_r1": "flickr30k/dual.tr_r1"})]
    table = seed_statistics.against_paper("table2", layout, RESULTS, TableParams("ours", "note"))
    means, spreads = table.sections[-2:]
    assert "mean of 3 seeds" in means.title and "deviation" in spreads.title
    assert means.rows[0].cells[2] == pytest.approx(30)
    assert spreads.rows[0].cells[2] == pytest.approx(100 * statistics.stdev([0.1, 0.2, 0.6]))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project in which running the pipeline leaves the seed as every score."""
    tiny.write(tmp_path, tiny.settings())
    monkeypatch.chdir(tmp_path)

    def run_stages():
        tree = yaml_reader.parse(Path("params.yaml").read_bytes())
        seed = float(tree["pretrain"]["common"]["seed"])
        assert tree["finetune"]["common"]["seed"] == seed
        recalls = {"tr_r1": seed / 10, "ir_r1": seed / 20}
        for item in ("flickr30k", "flickr30k-none"):
            path = Path(f"results/small/evaluate/{item}.json")
            path.parent.mkdir(parents=True, exist_ok=True)
            result = {"dual": recalls, "reranked": recalls, "chance": recalls}
            path.write_text(json.dumps({**result, "headline": recalls}))
        released = evaluation_results.retrieval("vlmo_base_patch16_384_coco.pt")
        Path("results/small/evaluate/vlmo-coco.json").write_text(json.dumps(released))

    def record(command, check):
        seed = yaml_reader.parse(Path("params.yaml").read_bytes())["pretrain"]["common"]["seed"]
        keys = ("pretrain.common.seed", "finetune.common.seed")
        assert command == ["dvc", "exp", "run", *(f"-S{key}={seed}" for key in keys)]

    monkeypatch.setattr(repro, "main", run_stages)
    monkeypatch.setattr(subprocess, "run", record)
    return tmp_path


def test_every_seed_is_run_and_params_yaml_is_left_as_it_was(project, capsys):
    before = (project / "params.yaml").read_bytes()
    seeds.main("1", "2", "3")
    assert (project / "params.yaml").read_bytes() == before
    summary = json.loads((project / "results/small/seeds/summary.json").read_text())
    assert summary["mean"]["flickr30k"]["dual"]["tr_r1"] == pytest.approx(0.2)
    ends = [summary[end]["flickr30k"]["dual"]["tr_r1"] for end in ("lowest", "highest")]
    assert ends == pytest.approx([0.1, 0.3])
    assert set(summary["mean"]) == {"flickr30k", "flickr30k-none"}, "released weights have no seed"
    assert "mean of 3 seeds" in capsys.readouterr().out
    assert (project / "results/small/seeds/table2.md").exists()
    page = (project / "results/small/seeds/report.html").read_text()
    assert "seeds 1, 2, 3" in page and "Standard deviation over the seeds: flickr30k" in page


@pytest.mark.parametrize("words", [(), ("1",), ("1", "1"), ("1", "two")])
def test_fewer_than_two_numbers_are_refused(words):
    with pytest.raises(UserError, match="at least two different numbers"):
        seeds.main(*words)


def test_a_failed_run_leaves_params_yaml_and_says_so(project, monkeypatch):
    def fail():
        raise UserError("finetune@vqa has failed")

    monkeypatch.setattr(repro, "main", fail)
    before = (project / "params.yaml").read_bytes()
    with pytest.raises(UserError, match="seed 1: the pipeline failed"):
        seeds.main("1", "2")
    assert (project / "params.yaml").read_bytes() == before
