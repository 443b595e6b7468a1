"""The plan of one DVC item: what it depends on, what that fetches and computes, and nothing else."""

import re

import pytest

from model.meta import on_meta
from pipeline.config import params
from pipeline.errors import UserError
from pipeline.planning import data_cost, evaluation_cost, item, plan
from pipeline.released import imports
from pipeline.utils.progress import size
from tests.helpers import tiny


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dvc.repo")
    monkeypatch.chdir(tiny.ROOT)


def test_an_item_needs_what_it_depends_on_before_it() -> None:
    assert item.needed("evaluate@vlmo-coco") == [
        "download@coco-test",
        "shard@coco-test",
        "import@vlmo-coco",
        "evaluate@vlmo-coco",
    ]
    stages = item.needed("finetune@coco")
    assert stages[-1] == "finetune@coco" and "pretrain@main" in stages
    assert stages.index("shard_pairs@coco") < stages.index("finetune@coco")
    assert not any(stage.startswith(("evaluate", "import")) for stage in stages)
    assert {"evaluate@coco", "evaluate@beit-ade20k"} <= set(item.needed("table"))


def test_an_unknown_item_is_one_line_with_what_is_near() -> None:
    with pytest.raises(UserError, match=r"^plan: no item 'evaluate@vlmo'; near: .*vlmo-coco"):
        item.needed("evaluate@vlmo")


def test_its_plan_has_its_own_sources_and_computing() -> None:
    text = "\n".join(plan.item_pages(params.read(), "evaluate@vlmo-coco"))
    assert "40 images, 200 captions, 0 matches" in text
    assert "| coco-test " in text and "| vlmo-coco " in text
    assert "## Training" not in text and "flickr30k" not in text and "| coco " not in text
    text = "\n".join(plan.item_pages(params.read(), "finetune@vqa"))
    runs = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert {"finetune vqa", "pretrain main", "visual_tokenizer"} <= set(runs)
    assert "finetune nlvr2" not in runs and "evaluate vqa" not in runs


def test_its_plan_has_memory_and_disk_of_an_evaluation() -> None:
    """Of released weights: nothing is trained."""
    own = params.read()
    costs = evaluation_cost.of_imports(own, data_cost.planned_sources(own))
    (cost,) = (cost for cost in costs if cost.stage == "evaluate vlmo-coco")
    cls, config = imports.load("vlmo-coco").planned()
    weights = 4 * sum(one.numel() for one in on_meta(lambda: cls(config)).parameters())
    assert cost.weights == weights < cost.memory
    text = "\n".join(plan.item_pages(own, "evaluate@vlmo-coco"))
    (row,) = (line for line in text.splitlines() if line.startswith("| evaluate vlmo-coco"))
    assert row.split("|")[-2].strip() == size(cost.memory)
    disk = dict(
        re.findall(r"^\| (.+?) +\| +(.+?) +\|$", text.partition("## Disk")[2], re.MULTILINE)
    )
    assert disk["imported models"] == size(weights)
    assert not any(what.startswith(("checkpoints", "visual tokens", "models of")) for what in disk)
