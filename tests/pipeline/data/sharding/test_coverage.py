"""How much of the paper's data is there: counted, shown beside the paper's counts, and too little
of it refused."""

import pytest

import stages.shard
from pipeline.data.sharding import coverage
from pipeline.errors import UserError
from pipeline.reporting import render
from pipeline.tracking import client as tracking
from pipeline.utils import files
from tests.pipeline.data.sharding.test_build import contents, synsets

PARAMS = """scale: small
preset: small
pool: {workers: 1}
download: {common: {mirrors: [], official: false}, imagenet22k: {origin: local, path: raw}}
shard:
  common: {rows_per_group: 2, groups_per_file: 3}
  imagenet22k: {val_fraction: 0.2, max_side: 8, min_coverage: %s}
"""


def index(folder, train, samples, val=0):
    files.write_json(
        folder / "index.json",
        {
            "splits": {
                "train": {"rows": train, "samples": samples},
                "val": {"rows": val, "samples": val},
            },
            "rejected": {},
        },
    )
    return folder


@pytest.fixture
def found(tmp_path):
    """Two thirds of CC3M, of COCO all images and half of the captions."""
    for source in ("cc3m", "sbu", "coco", "vg", "imagenet22k"):
        index(tmp_path / source, 0, 0)
    index(tmp_path / "cc3m", 2_006_667, 2_006_667, val=15_000)
    index(tmp_path / "coco", 113_287, 283_374)
    return tmp_path


def test_what_was_found_is_said_with_what_the_paper_has(found):
    assert coverage.sentence("cc3m", found / "cc3m") == (
        "cc3m: 2,006,667 of the paper's 3,010,000 images (66.7%), "
        "2,006,667 of the paper's 3,010,000 captions (66.7%)"
    )
    assert coverage.metrics("coco", found / "coco") == pytest.approx(
        {"coverage_images": 1.0, "coverage_captions": 0.5}, abs=1e-5
    )
    assert coverage.metrics("imagenet22k", found / "imagenet22k") == {"coverage_images": 0.0}
    assert coverage.metrics("ade20k", found / "ade20k") == {}


def test_the_table_has_every_source_and_their_sum(found):
    lines = render.markdown(coverage.table(found, "ours, small world", "Generated.")).splitlines()
    cells = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in lines
        if line.startswith("|")
    }
    assert cells["Source"] == [
        f"{kind} {name}" for kind in ("Images", "Captions") for name in ("paper", "here", "%")
    ]
    assert cells["cc3m"] == ["3,010,000", "2,006,667", "66.7"] * 2
    assert cells["coco"] == ["113,287", "113,287", "100.0", "566,747", "283,374", "50.0"]
    assert cells["imagenet22k"] == ["14,197,122", "0", "0.0", "–", "–", "–"]
    assert cells["all pairs"] == [
        "4,098,364",
        "2,119,954",
        "51.7",
        "9,853,747",
        "2,290,041",
        "23.2",
    ]
    assert "*ours, small world*" in cells and lines[-1] == "Generated."


def test_too_little_is_refused_in_one_line(found):
    coverage.check("cc3m", found / "cc3m", 0.6, "shard.cc3m.min_coverage")
    coverage.check("ade20k", found / "ade20k", 0.6, "nowhere")
    with pytest.raises(UserError) as caught:
        coverage.check("coco", found / "coco", 0.6, "shard.coco.min_coverage")
    assert str(caught.value) == (
        "params.yaml: shard.coco.min_coverage: coco: found 283,374 captions, 50.0% of the "
        "paper's 566,747; wanted 60.0%; lower it to go on with these"
    )


def test_the_shard_stage_stops_and_keeps_its_work(tmp_path, monkeypatch, capsys):
    synsets(tmp_path / "raw", 12, classes=5)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(tracking, "installed", lambda: False)
    (tmp_path / "params.yaml").write_text(PARAMS % 0.5)
    with pytest.raises(
        UserError, match="^params.yaml: shard.imagenet22k.min_coverage: imagenet22k: found "
    ):
        stages.shard.main("imagenet22k")
    assert not (tmp_path / "data").exists()
    (work,) = (tmp_path / ".work").glob("shard-*")
    made = contents(work / "finished")
    (tmp_path / "params.yaml").write_text(PARAMS % 0.0)
    stages.shard.main("imagenet22k")
    assert contents(tmp_path / "data/small/shards/imagenet22k") == made
    assert list((tmp_path / ".work").glob("shard-*")) == [work]
    assert capsys.readouterr().out.startswith("imagenet22k: ")
