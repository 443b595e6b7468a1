"""The stage that makes the tables, where released weights were evaluated."""

import pytest

from pipeline.tracking import client as tracking
from pipeline.utils import files
from stages import table
from tests.helpers import evaluation_results, tiny

COCO = "vlmo_base_patch16_384_coco.pt"
OURS = {
    "task": "retrieval",
    "data": "coco",
    "variant": "main",
    "headline": {"tr_r1": 0.5, "ir_r1": 0.25, "score": 0.375},
    "images": 10,
    "captions": 50,
    "dual": evaluation_results.RECALLS,
    "reranked": evaluation_results.RECALLS,
    "chance": evaluation_results.RECALLS,
}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A function that makes the tables of some results, without any shards or pretraining, and
    returns the folder with all that was made."""
    monkeypatch.setattr(tracking, "installed", lambda: False)

    def make(folder, results):
        root = tmp_path / folder
        tiny.write(root, tiny.settings())
        for name, result in results.items():
            files.write_json(root / f"results/small/evaluate/{name}.json", result)
        monkeypatch.chdir(root)
        table.main()
        return root / "results/small"

    return make


def test_made_up_weights_add_a_list_and_change_nothing_else(made):
    without = made("without", {"coco": OURS})
    made_up = evaluation_results.retrieval(COCO, "synthetic")
    with_them = made("with", {"coco": OURS, "vlmo-coco": made_up})
    names = {path.name for path in (without / "tables").iterdir()}
    added = {path.name for path in (with_them / "tables").iterdir()} - names
    assert "table2.md" in names and added == {"released.md", "released.csv"}
    for name in ("metrics.json", *(f"tables/{name}" for name in names)):
        assert (with_them / name).read_bytes() == (without / name).read_bytes()
    assert "a check of the path, not a result" in (with_them / "tables/released.md").read_text()
    page = (with_them / "report.html").read_text()
    assert "a check of the path, not a result" in page and "<h3>vlmo-coco</h3>" not in page


def test_real_weights_are_in_the_tables_the_metrics_and_the_report(made):
    folder = made("real", {"vlmo-coco": evaluation_results.retrieval(COCO)})
    lines = (folder / "tables/table2.md").read_text().splitlines()
    start = next(index for index, line in enumerate(lines) if "*released weights" in line)
    published, here, difference = (line.split("|")[1:4] for line in lines[start + 1 : start + 4])
    assert [cell.strip() for cell in published] == ["VLMo, published", "74.8", "57.2"]
    assert [cell.strip() for cell in here[1:]] == ["74.8", "57.3"]
    assert [cell.strip() for cell in difference[1:]] == ["0.0", "0.1"]
    assert f"released weights: {COCO}" in (folder / "tables/retrieval.md").read_text()
    metrics = files.read_json(folder / "metrics.json")
    assert metrics == {"vlmo-coco": pytest.approx({"tr_r1": 74.78, "ir_r1": 57.31})}
    page = (folder / "report.html").read_text()
    chapter = page[page.index("<h3>vlmo-coco</h3>") :]
    assert "dual encoder alone, no reranking" in chapter and f"{COCO} (origin upstream" in chapter
