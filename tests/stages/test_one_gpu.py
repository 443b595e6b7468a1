"""The preset `one-gpu` from raw files to its tables by DVC, tiny: pretraining from scratch and from
BEiTv2's weights, fine-tunes of both and of VLMo's weights, evaluations.

COCO, VQA v2, Flickr30k, Wikipedia and CC3M's list are slices of the real data sets; the images
behind CC3M's URLs come from a server here. Of Visual Genome there is no slice: generated files in
its official form stand in for it. Released weights are made up, in the official layouts.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks import full_size_data
from model.checkpoint import load
from pipeline.config.params import Params
from pipeline.planning import training_cost
from pipeline.tokenizers import vqkd_training
from pipeline.utils import files
from tests.helpers import project_copy, real_data, real_slices, tiny, web_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("dvc") is None, reason="needs the command dvc"),
    real_data.needs("coco", "vqav2", "flickr30k", "wikipedia", "cc3m"),
]
COCO = {"train": 36, "restval": 4, "val": 10, "test": 10}
CC3M = {"train": 40, "val": 4}
VG = 24
MODELS = ("coco", "vqa", "coco-beitv2", "vqa-beitv2", "flickr30k-vlmo")
TARGETS = [f"evaluate@{name}" for name in MODELS]


@dataclass(frozen=True)
class Project:
    """A folder in which all targets have run."""

    folder: Path
    log: str

    def json(self, *parts: str) -> Any:
        """A file of the scale's folder in the first part: data, runs or results."""
        top, *others = parts
        return files.read_json(self.folder.joinpath(top, "one-gpu", *others))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    root = tmp_path_factory.mktemp("one-gpu")
    with web_server.web() as server:
        tree = settings(root, f"{server.address}/wide")
        folder = project_copy.make(root / "project", tree)
        log = project_copy.run(folder, "dvc", "repro", *TARGETS, timeout=1500)
        log += project_copy.run(folder, "python", "-m", "stages.table")
    yield Project(folder, log)


def settings(root: Path, server: str) -> dict[str, Any]:
    """The preset with tiny models, few steps and local files, which are written into `root`."""
    tree = tiny.preset("one-gpu")
    tiny.shrink(tree)
    _use_slices(tree, root, server)
    tree["shard"]["common"]["rows_per_group"] = 4
    for source in ("cc3m", "coco", "vg"):
        tree["shard"][source]["min_coverage"] = 0.0
    tree["shard"]["wikipedia"]["val_fraction"] = 0.2
    tree["pool"]["workers"], tree["loop"]["loader_workers"] = 1, 0
    _fit_sizes(tree)
    released = root / "released"
    released.mkdir()
    tree["released_weights"] |= {"origin": "local", "path": str(released), "official": False}
    tree["imported_weights"]["origin"] = "synthetic"
    _write_visual_tokenizer(released, tree)
    return tree


def _use_slices(tree: dict[str, Any], root: Path, server: str) -> None:
    """Name folders with the data sets, and write those of another form than the reader's."""
    for name in ("coco", "vqav2", "cc3m"):
        (root / name).mkdir()
    real_slices.coco(root / "coco", COCO)
    real_slices.vqav2(root / "vqav2", tested=True)
    real_slices.cc3m(root / "cc3m", server, CC3M)
    folders = {name: root / name for name in ("coco", "vqav2", "cc3m")}
    folders |= {name: real_data.folder(name) for name in ("flickr30k", "wikipedia")}
    download = tree["download"]
    download["common"]["official"] = False
    for name, folder in folders.items():
        download[name] |= {"origin": "local", "path": str(folder)}
    download["vg"]["origin"] = "synthetic"
    tree["synthetic"]["image_size"] = 40
    tree["synthetic"]["sizes"]["vg"] = {"train": VG}
    client = tree["url_fetch"]["common"]["client"]
    client |= {"allow_private": True, "contact": "tests@example.org"}


def _fit_sizes(tree: dict[str, Any]) -> None:
    """Sizes that depend on each other: of patches, of released models, of micro-batches."""
    pretraining = tree["pretrain"]["common"]
    for block in (
        pretraining["dimensions"],
        tree["visual_tokenizer"]["dimensions"],
        tree["imported_size"],
    ):
        block["patch_size"] = 8
    tree["visual_tokenizer"]["dimensions"] |= {"num_heads": 2, "decoder_depth": 1}
    tree["imported_size"] = {key: pretraining["dimensions"][key] for key in tree["imported_size"]}
    for name in ("beitv2-pretrained", "vlmo-coco"):
        tree["imports"][name]["inputs"]["image_size"] = 40
    pretraining["loop"]["gradient_accumulation"] = 2
    for name in ("coco", "flickr30k", "vqa"):
        tree["finetune"][name]["loop"]["gradient_accumulation"] = 2
    tree["finetune"]["vqa"]["min_answer_count"] = 1


def _write_visual_tokenizer(folder: Path, tree: dict[str, Any]) -> None:
    """The file that the preset names, of this size."""
    tokenizer = vqkd_training.load_params(Params(Path("params.yaml"), tree))
    config = training_cost.tokenizer_config(tokenizer)
    name = Path(tree["visual_tokenizer"]["official_file"]).name
    full_size_data.write_visual_tokenizer(folder / name, config)


def test_records_are_those_of_the_slices(project: Project) -> None:
    found = {}
    for source in ("coco", "cc3m", "vg", "flickr30k", "vqav2", "wikipedia"):
        splits = project.json("data", "shards", source, "index.json")["splits"]
        found[source] = {split: entry["rows"] for split, entry in splits.items()}
    assert found["coco"] == {"train": 40, "val": 10, "test": 10}
    assert found["cc3m"] == CC3M
    assert found["flickr30k"] == {"train": 80, "val": 20, "test": 20}
    assert found["vqav2"] == {"train": 10, "val": 2, "test": 4}
    assert sum(found["wikipedia"].values()) == 18 and found["wikipedia"]["val"] > 0
    assert 0 < found["vg"]["train"] <= VG
    assert len(project.json("data", "decontamination.json")) >= 20


def test_both_pretrainings_have_learned_from_all_three_streams(project: Project) -> None:
    for name in ("main", "beitv2"):
        values = project.json("runs", "pretrain", name, "validation.json")
        assert {"mlm_accuracy", "mim_accuracy", "mvlm_text_accuracy"} <= values.keys()
    (matched,) = re.findall(
        r"weights from runs/one-gpu/import/beitv2-pretrained/model: (\d+) tensors", project.log
    )
    assert int(matched) > 20
    main, warm = (
        load(project.folder / f"runs/one-gpu/pretrain/{name}/model") for name in ("main", "beitv2")
    )
    assert warm.config.backbone.relative_bias and not main.config.backbone.relative_bias


def test_evaluations_have_counted_what_is_there(project: Project) -> None:
    counts = {"coco": (10, 50), "coco-beitv2": (10, 50), "flickr30k-vlmo": (20, 100)}
    for name, expected in counts.items():
        result = project.json("results", "evaluate", f"{name}.json")
        assert (result["images"], result["captions"]) == expected
        assert result["precision"] == "fp32"
    for name in ("vqa", "vqa-beitv2"):
        result = project.json("results", "evaluate", f"{name}.json")
        assert result["questions"] == 4 and 0 <= result["validation"] <= 1
        answers = project.json("results", "predictions", name, "submission.json")
        assert len(answers) == 4


def test_tables_and_the_report_have_what_was_evaluated(project: Project) -> None:
    assert project.json("results", "metrics.json").keys() == {*MODELS}
    results = project.folder / "results/one-gpu"
    recalls = project.json("results", "evaluate", "coco.json")["reranked"]
    row = f"{100 * recalls['tr_r1']:.1f} *[|] *{100 * recalls['ir_r1']:.1f}"
    table = (results / "tables/table2.md").read_text()
    assert re.search(rf"ours, one GPU.*VL-BEiT \(ours\) *[|] *{row}", table, re.DOTALL)
    report = (results / "report.html").read_text()
    assert all(name in report for name in MODELS)


def test_dvc_has_nothing_more_to_do(project: Project) -> None:
    printed = project_copy.run(project.folder, "dvc", "repro", *TARGETS)
    assert "Running stage" not in printed
