"""The whole DAG on tiny settings: every stage's main in dvc.yaml's order, twice, to the same
bytes."""

import hashlib
import json
import re
from operator import attrgetter

import numpy as np
import pytest
import torch

from model import checkpoint
from pipeline.data.shards import parquet
from pipeline.data.transforms import images, views
from pipeline.errors import UserError
from pipeline.inference import predictor
from pipeline.tracking import client as tracking
from tests.helpers import tiny


def digests(folder):
    """Every output file and the hash of its bytes."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for top in ("data", "runs", "results")
        for path in sorted((folder / top).rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "installed", lambda: False)
        patch.chdir(folder)
        tiny.write(folder, tiny.settings())
        for stage in tiny.stages():
            tiny.run(*stage)
        yield folder


def test_the_tables_have_a_number_in_each_of_our_cells(project):
    for name, paper, label in (
        ("table1", "77.53", "VL-BEiT (ours)"),
        ("table2", "95.8", "VL-BEiT (ours)"),
        ("table3", "85.9", "VL-BEiT (ours)"),
        ("table4", "80.44", "[3] MVLM + MIM + MLM"),
        ("table5", "80.77", "MoME Transformer"),
    ):
        lines = (project / f"results/small/tables/{name}.md").read_text().splitlines()
        row = [line for line in lines if line.startswith(f"| {label} ")][-1]
        assert all(re.fullmatch(r" *[0-9.]+ *", cell) for cell in row.split("|")[2:-1]), row
        assert paper in "\n".join(lines), "the paper's numbers stand beside ours"
    # each of main's fine-tunes, each variant's, and all curves in one
    shown = len(tiny.PRETRAINED) + 2 * len(tiny.VARIANTS) + 1
    assert (project / "results/small/report.html").read_text().count("data:image/png") >= shown


def test_made_up_weights_are_evaluated_and_in_no_table(project):
    for name, key in (("vlmo-coco", "dual"), ("beit3-vqa", "accuracy"), ("beit-ade20k", "miou")):
        result = json.loads((project / f"results/small/evaluate/{name}.json").read_text())
        assert result["released"]["origin"] == "synthetic" and key in result
        assert name in (project / "results/small/tables/released.md").read_text()
    for table in ("table1", "table2", "table3"):
        shown = (project / f"results/small/tables/{table}.md").read_text()
        assert "evaluated here" not in shown
    assert "vlmo-coco" not in json.loads((project / "results/small/metrics.json").read_text())


def test_how_much_of_the_papers_data_there_is_stands_under_the_tables(project):
    found = json.loads((project / "data/small/shards/vg/index.json").read_text())["splits"]["train"]
    text = (project / "results/small/tables/coverage.md").read_text()
    (row,) = [line.split("|")[2:-1] for line in text.splitlines() if line.startswith("| vg ")]
    assert [int(cell.replace(",", "")) for cell in (row[1], row[4])] == [
        found["rows"],
        found["samples"],
    ]
    page = (project / "results/small/report.html").read_text()
    assert page.index("Pretraining data: what") > page.index("Retrieval in detail")


def test_results_tell_what_they_are_of(project):
    result = json.loads((project / "results/small/evaluate/flickr30k.json").read_text())
    assert (result["images"], result["captions"]) == (10, 50)
    assert (
        set(result["dual"])
        == set(result["reranked"])
        == {f"{w}_r{k}" for w in ("tr", "ir") for k in (1, 5, 10)}
    )
    assert result["chance"]["ir_r1"] == pytest.approx(0.1)


def test_validation_metrics_have_all_objectives_and_what_halves_of_pairs_say(project):
    for variant in tiny.VARIANTS:
        metrics = json.loads(
            (project / f"runs/small/pretrain/{variant}/validation.json").read_text()
        )
        for name in ("mlm", "mim", "mvlm_text", "mvlm_image"):
            assert {
                f"{name}_{part}" for part in ("loss", "accuracy", "chance", "frequent", "count")
            } <= set(metrics)
        for half in ("text", "image"):
            others = ("right", "other", "none")
            assert {f"mvlm_{half}_{other}_accuracy" for other in others} <= set(metrics)
        for name in ("mvlm_text", "mvlm_image", "mvlm_blank"):
            right, other = (metrics[f"{name}_{half}_loss"] for half in ("right", "other"))
            assert metrics[f"{name}_gain_nats"] == pytest.approx(other - right)
            assert metrics[f"{name}_gain_nats_error"] > 0


def test_tokenising_what_the_loader_shows_gives_the_stored_ids_every_one(project):
    from pipeline.data.loading.sampler import OrderParams
    from pipeline.pretraining.data import DataFolders, StreamParams, open_stream

    tokenizer = checkpoint.load(project / "data/small/visual_tokenizer/model")
    order = OrderParams(streams=1, shuffle_block=1, batch_size=1)
    count = 0
    for source, pairs in (("imagenet22k", "images"), ("coco", "pairs"), ("vg", "pairs")):
        for split in ("train", "val"):
            rows = open_stream(
                DataFolders.of("small"), pairs, StreamParams({source: 1}, order), split
            )
            for group, size in enumerate(rows.group_sizes):
                for unit in range(size):
                    row, _ = rows.get(group, unit)
                    shown = np.stack(
                        [views.apply(images.decode(row.image), view, 24) for view in row.views]
                    )
                    with torch.inference_mode():
                        ids = tokenizer.token_ids(images.normalize(torch.from_numpy(shown)))
                    assert (ids.numpy() == row.tokens).all(), (source, row.key)
                    count += ids.numel()
    assert count > 1000


def test_every_caption_is_a_sample_of_the_pair_stream(project):
    from pipeline.data.loading.sampler import OrderParams
    from pipeline.pretraining.data import DataFolders, StreamParams, open_stream

    rows = open_stream(
        DataFolders.of("small"), "pairs", StreamParams({"vg": 1}, OrderParams(1, 1, 1)), "train"
    )
    seen = [
        (row.key, caption)
        for group, size in enumerate(rows.group_sizes)
        for unit in range(size)
        for row, caption in [rows.get(group, unit)]
    ]
    stored = [
        (row["key"], caption)
        for row in parquet.read_rows(project / "data/small/shards/vg", "train")
        for caption in row["captions"]
    ]
    assert seen == stored


def test_pretraining_batches_are_those_of_the_sampler_for_two_parts_together(project):
    from pipeline.config import params
    from pipeline.data.loading.sampler import MicroBatch
    from pipeline.pretraining import task, variants

    settings = variants.load_params(params.read(), "main")

    batches = task.PretrainingTask(task.DataFolders.of("small"), settings, None).batches
    whole, parts = batches[MicroBatch(3)], [batches[MicroBatch(3, index, 2)] for index in range(2)]
    for name in ("images.pixels", "images.masked", "pairs.image.pixels", "pairs.image.masked"):
        field = attrgetter(name)
        assert torch.equal(torch.cat([field(part) for part in parts]), field(whole))
    for name in ("texts.targets", "texts.drop_path_noise", "pairs.text.targets"):
        field = attrgetter(name)
        assert torch.equal(torch.cat([field(part) for part in parts]), field(whole))
    noise = torch.cat([part.pairs.drop_path_noise for part in parts])
    assert torch.equal(noise, whole.pairs.drop_path_noise)


def test_position_tables_were_resized_for_the_fine_tune(project):
    pretrained = checkpoint.load(project / "runs/small/pretrain/main/model").backbone
    tuned = checkpoint.load(project / "runs/small/finetune/flickr30k/model").backbone
    assert pretrained.image_positions.shape[1] == 1 + 9 and tuned.image_positions.shape[1] == 1 + 16


def test_every_model_is_exported_with_its_card(project):
    tiny.run("export")
    made = {path.name for path in (project / "exports/small").iterdir()}
    assert made == {
        "main",
        *(item for item in tiny.ITEMS if item.partition("-")[2] in ("", "coco")),
    }
    train = json.loads((project / "data/small/shards/coco/index.json").read_text())["splits"][
        "train"
    ]
    for name in made:
        predictor.load(project / "exports/small" / name)
        card = (project / "exports/small" / name / "README.md").read_text()
        assert f"| pretrain/main | coco | {train['rows']} | {train['samples']} |" in card
    result = json.loads((project / "results/small/evaluate/vqa.json").read_text())
    assert (
        f"| test_dev | {result['test_dev']:.4f} |"
        in (project / "exports/small/vqa/README.md").read_text()
    )


@pytest.mark.slow
def test_a_second_project_elsewhere_has_the_same_bytes(project, tmp_path, monkeypatch):
    other = tmp_path / "elsewhere" / "with another name"
    tiny.write(other, tiny.settings())
    monkeypatch.chdir(other)
    monkeypatch.setattr(tracking, "installed", lambda: False)
    for stage in tiny.stages():
        tiny.run(*stage)
    assert digests(other) == digests(project)


def test_the_pretraining_seed_changes_the_model_and_the_world_does_not(project):
    tree = tiny.settings()
    tree["pretrain"]["common"]["seed"] = 2
    before = (project / "runs/small/pretrain/none/model/model.safetensors").read_bytes()
    data = digests(project)
    tiny.write(project, tree)
    try:
        tiny.run("pretrain", "none")
        assert (project / "runs/small/pretrain/none/model/model.safetensors").read_bytes() != before
        after = digests(project)
        assert {name for name in data if data[name] != after[name]} <= {
            f"runs/small/pretrain/none/{name}"
            for name in (
                "model/model.safetensors",
                "validation.json",
                "validation.csv",
                "masked.png",
            )
        }
    finally:
        tiny.write(project, tiny.settings())
        tiny.run("pretrain", "none")


@pytest.mark.parametrize(
    ("change", "stage", "words"),
    [
        (
            lambda t: t["evaluate"]["flickr30k"].update(rerank_kk=3),
            ("evaluate", "flickr30k"),
            "evaluate.flickr30k: unknown key rerank_kk",
        ),
        (
            lambda t: t["evaluate"]["flickr30k"].pop("rerank_k"),
            ("evaluate", "flickr30k"),
            "evaluate.flickr30k.rerank_k: missing key",
        ),
        (
            lambda t: t["pretrain"]["common"].update(lr="fast"),
            ("pretrain", "main"),
            "pretrain.common.lr: expected float, found 'fast'",
        ),
        (
            lambda t: t["download"]["coco"].update(origin="local", path="/nowhere"),
            ("download", "coco"),
            "download.coco.path",
        ),
        (
            lambda t: t.update(scale="tiny"),
            ("table",),
            "scale: tiny, but preset: small",
        ),
        (
            lambda t: t["pretrain"]["common"]["data"]["pairs"]["order"].update(
                streams=64, batch_size=64
            ),
            ("pretrain", "main"),
            "pairs.order: .* row groups are too few for 64 streams",
        ),
    ],
)
def test_wrong_params_end_in_one_line_that_names_the_key(project, change, stage, words):
    tree = tiny.settings()
    change(tree)
    tiny.write(project, tree)
    try:
        with pytest.raises(UserError, match=words) as caught:
            tiny.run(*stage)
        assert "\n" not in str(caught.value)
    finally:
        tiny.write(project, tiny.settings())
