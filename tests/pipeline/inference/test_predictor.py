"""Exported models, their cards, and every example of docs/use.md as it is written there."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from model import checkpoint, timm_encoder
from model.heads.classification import Classification, ClassificationConfig
from model.heads.nlvr2 import NLVR2, NLVR2Config
from model.heads.retrieval import Retrieval, RetrievalConfig
from model.heads.segmentation import Segmentation, SegmentationConfig
from model.heads.vqa import VQA, VQAConfig
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from model.timm_encoder import ImageEncoder
from pipeline.data.datasets import facts
from pipeline.data.shards import parquet, schema
from pipeline.data.transforms import images
from pipeline.errors import UserError
from pipeline.inference import predictor
from pipeline.inference.row_predictor import RowPredictor
from pipeline.tokenizers import text
from pipeline.utils import files
from stages import export
from tests.helpers import tiny
from tests.helpers.doc_examples import WORDS, examples, run_example, write_tokenizer
from tests.helpers.import_graph import ImportGraph
from tests.helpers.toy import BACKBONE, HEAD
from tests.test_imports import top_level

EXAMPLES = examples("docs/use.md")
ANSWERS = ("ring", "star", "yes", "no")
SCENES = tiny.settings()["evaluate"]["ade20k"]["names"].replace("\n", "").split(", ")
ITEMS = (
    "vqa",
    "nlvr2",
    "coco",
    "flickr30k",
    "flickr30k-coco",
    "imagenet22k",
    "imagenet1k",
    "ade20k",
)
# depth and image size of the base model
BASE = replace(BACKBONE, image_size=224, patch_size=16, depth=12, drop_path=0.0)


def model_of(item, vocab_size):
    """Random weights."""
    backbone = replace(BACKBONE, vocab_size=vocab_size)
    torch.manual_seed(len(item))
    if item in ("coco", "flickr30k", "flickr30k-coco"):
        return Retrieval(RetrievalConfig(backbone))
    if item.startswith("imagenet"):
        return Classification(ClassificationConfig(backbone, 6 if item == "imagenet1k" else 12))
    return {
        "main": lambda: MaskedModeling(MaskedModelingConfig(backbone, codebook_size=8)),
        "vqa": lambda: VQA(VQAConfig(backbone, ANSWERS)),
        "nlvr2": lambda: NLVR2(NLVR2Config(backbone)),
        "ade20k": lambda: Segmentation(
            SegmentationConfig(backbone, replace(HEAD, classes=len(SCENES)))
        ),
    }[item]()


def write_data(data):
    """Shards as far as exports read them, and a text tokenizer."""
    for source in tiny.SOURCES:
        splits = {"train": {"rows": 1234, "samples": 5678}}
        files.write_json(
            data / "shards" / source / "index.json", {"splits": splits, "rejected": {"train": 3}}
        )
    for source, classes in (("imagenet1k", 6), ("imagenet22k", 12)):
        rows = [
            {
                "key": f"n{label:08d}_{number}",
                "image": b"",
                "width": 1,
                "height": 1,
                "captions": [],
                "label": label,
            }
            for label in range(1, classes)
            for number in range(2)
        ]
        folder = data / "shards" / source
        written = parquet.write(
            folder, "train", rows, schema.IMAGE_SHARD, rows_per_group=4, groups_per_file=9
        )
        parquet.write_index(folder, {"train": written}, rejected={"train": 0})
    return write_tokenizer(data / "text_tokenizer")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project after its pipeline, with random models, all exported."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        tiny.write(root, tiny.settings())
        vocab_size = write_data(root / "data/small")
        tokenizer = root / "data/small/text_tokenizer/spm.model"
        checkpoint.save(model_of("main", vocab_size), root / "runs/small/pretrain/main/model")
        text.put_into(root / "runs/small/pretrain/main/model", tokenizer)
        files.write_json(root / "runs/small/pretrain/main/validation.json", {"mlm_accuracy": 0.125})
        for item in ITEMS:
            folder = root / "runs/small/finetune" / item / "model"
            checkpoint.save(model_of(item, vocab_size), folder)
            text.put_into(folder, tokenizer)
            files.write_json(
                root / f"results/small/evaluate/{item}.json",
                {"item": item, "chance": {"acc1": 0.0625}},
            )
        export.main()
        for seed, name in enumerate(("image", "other")):
            pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(f"{name}.jpg")
        yield root


def test_every_export_is_complete_by_itself(project, tmp_path):
    for item in ("main", *ITEMS):
        moved = (project / "exports/small" / item).rename(tmp_path / item)
        loaded = predictor.load(moved)
        with_text = type(loaded.model).__name__ not in ("Classification", "Segmentation")
        names = {path.name for path in moved.iterdir()}
        assert names - {"classes.json"} == {"model.safetensors", "config.json", "README.md"} | (
            {"spm.model"} if with_text else set()
        )
        assert ("classes.json" in names) is not with_text
        moved.rename(project / "exports/small" / item)


def test_cards_state_data_scale_scores_params_limits_and_license(project):
    cards = {
        item: (project / "exports/small" / item / "README.md").read_text()
        for item in ("main", *ITEMS)
    }
    for item, card in cards.items():
        assert "\n\n\n" not in card and "{" not in card, item
        assert card.startswith("---\nlicense: apache-2.0\n---\n\n# VL-BEiT: ")
        for heading in ("Data", "Scores", "Training", "Limits", "License"):
            assert f"\n## {heading}\n" in card
        assert "scale `small`" in card and facts.GENERATED_LICENSE in card
        assert "| pretrain/main | vg | 1,234 | 5,678 |" in card
    assert "| mlm_accuracy | 0.1250 |" in cards["main"] and "| lr | 0.0015 |" in cards["main"]
    assert "| chance.acc1 | 0.0625 |" in cards["vqa"] and "the 4 answers" in cards["vqa"]
    assert (
        "Stages, in order: pretrain/main, finetune/imagenet22k, finetune/imagenet1k."
        in cards["imagenet1k"]
    )
    assert "| finetune/imagenet1k | imagenet1k | 10 | 10 |" in cards["imagenet1k"]
    assert "| item |" not in cards["vqa"] and "21 records of all splits" in cards["flickr30k-coco"]
    assert (
        "photographs" in cards["main"] and "tokens" not in cards["ade20k"].partition("## Data")[0]
    )


def test_cards_of_collected_data_state_their_licenses(project, tmp_path):
    tree = tiny.settings()
    for block in tree["download"].values():
        block["origin"] = "upstream"
    tiny.write(project, tree)
    try:
        export.main("vqa", str(tmp_path / "vqa"))
    finally:
        tiny.write(project, tiny.settings())
    card = (tmp_path / "vqa" / "README.md").read_text()
    assert (
        facts.read("bookcorpus").license in card
        and "| finetune/vqa | vqav2 |" in card
        and "prejudices" in card
    )
    assert facts.GENERATED_LICENSE not in card


def test_classes_have_their_names(project):
    assert predictor.load("exports/small/ade20k").classes == tuple(SCENES)
    loaded = predictor.load("exports/small/imagenet1k")
    assert loaded.classes == (
        "0",
        *(f"n{label:08d}" for label in range(1, 6)),
    )  # class 0 has no image
    ranked = loaded.classify(Image.open("image.jpg"))
    assert {name for name, _ in ranked} < set(loaded.classes) and len(ranked) == 5
    assert [value for _, value in ranked] == sorted((value for _, value in ranked), reverse=True)
    encoder = ImageEncoder.from_pretrained("exports/small/imagenet1k")
    assert encoder(loaded.pixels([Image.open("image.jpg")])).argmax() == loaded.classes.index(
        ranked[0][0]
    )


def test_predictions_are_what_the_model_computes(project):
    loaded = predictor.load("exports/small/flickr30k")
    shown, captions = [Image.open("image.jpg"), Image.open("other.jpg")], list(WORDS)
    cosines = loaded.similarity(shown, captions)
    assert cosines.shape == (2, 3)
    one = loaded.similarity(shown[1:], captions[2:])
    torch.testing.assert_close(cosines[1:, 2:], one)  # whatever else is in the batch
    for features in (loaded.image_features(shown), loaded.text_features(captions)):
        torch.testing.assert_close(features.norm(dim=1), torch.ones(len(features)))
    matches = loaded.match(shown, captions[:2])
    answer = RowPredictor(project / "exports/small/flickr30k").predict(
        {"image": (project / "image.jpg").read_bytes(), "text": captions[0]}
    )
    assert answer["match"] == pytest.approx(matches[0].item(), abs=1e-5)
    assert answer["similarity"] == pytest.approx(cosines[0, 0].item(), abs=1e-5)
    pretrained = predictor.load("exports/small/main")
    pixels = images.normalize(torch.from_numpy(images.square(shown[0], 16).copy())[None])
    with torch.no_grad():
        expected = pretrained.model.backbone.cls(pixels)
    assert torch.equal(pretrained.image_features(shown[:1]), expected)
    best = predictor.load("exports/small/vqa").answers(shown[0], captions[0], best=9)
    assert {answer for answer, _ in best} == set(ANSWERS)


def test_what_a_model_cannot_do_is_an_error_of_one_line(project, tmp_path):
    checkpoint.save(model_of("vqa", 40), tmp_path / "bare")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"architecture": "vit"}))
    (tmp_path / "other" / "model.safetensors").write_bytes(b"")
    image = Image.open("image.jpg")
    for call, words in (
        (
            lambda: predictor.load("exports/small/vqa").similarity([image], ["x"]),
            "similarity: this model is a VQA; load",
        ),
        (
            lambda: predictor.load(tmp_path / "bare").answers(image, "x"),
            "without the tokenizer file",
        ),
        (lambda: predictor.load(tmp_path / "nowhere"), "nowhere/config.json: not found"),
        (
            lambda: predictor.load(tmp_path / "other"),
            "other/config.json: not a model of this project",
        ),
        (lambda: export.main("thing"), "no model 'thing'; one of main, "),
        (lambda: export.main("nlvr2-none"), "nlvr2-none/model/config.json: not found"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_an_export_leaves_other_files_of_a_folder_alone(project, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    export.main("main", str(tmp_path))
    export.main("main", str(tmp_path))
    assert (tmp_path / "mine.txt").exists() and predictor.load(tmp_path).tokenizer is not None
    assert (tmp_path / "model.safetensors").read_bytes() == (
        project / "runs/small/pretrain/main/model/model.safetensors"
    ).read_bytes()


def test_using_a_model_needs_few_packages():
    allowed = set(sys.stdlib_module_names) | {
        "torch",
        "timm",
        "torchvision",
        "safetensors",
        "sentencepiece",
        "tokenizers",  # only where texts are read with WordPiece
        "PIL",
        "numpy",
        "model",
        "pipeline",
    }
    allowed.add("scipy")  # only where relative biases, which are off, are resized
    modules = ["pipeline.inference.predictor", "model.timm_encoder"]
    for path in ImportGraph(tiny.ROOT).closure(modules):
        assert top_level(tiny.ROOT / path) <= allowed, path


@pytest.mark.parametrize(
    "heading", [heading for heading in EXAMPLES if heading != "From MLflow"]
)  # see test_tracking
def test_the_examples_of_the_documentation_run(project, heading, monkeypatch):
    monkeypatch.setattr(timm_encoder, "BASE", replace(BASE, vocab_size=1, text_length=1))
    if heading == "The timm model":
        checkpoint.save(
            Classification(ClassificationConfig(BASE, 1000)), project / "exports/paper/imagenet1k"
        )
        checkpoint.save(
            MaskedModeling(MaskedModelingConfig(BASE, codebook_size=8)),
            project / "exports/paper/main",
        )
    space = run_example("docs/use.md", heading)
    shapes = {
        "features": (2, 16),
        "cosines": (2, 2),
        "probabilities": (2,),
        "mask": (16, 16),
        "logits": (1, 1000),
        "vectors": (1, 577, 16),
    }
    found = {name: tuple(value.shape) for name, value in space.items() if name in shapes}
    assert found == {name: shape for name, shape in shapes.items() if name in space}
    if heading == "The timm model":
        assert [tuple(one.shape) for one in space["maps"]] == [(1, 16, 14, 14)] * 4
        assert space["tuned"](torch.zeros(1, 3, 384, 384)).shape == (1, 10)


def test_the_readmes_example_runs(project):
    space = run_example("README.md", "Use a model")
    assert space["answer"] in ANSWERS and 0 < space["probability"] < 1


@pytest.mark.parametrize(
    ("item", "name", "content", "message"),
    [
        ("imagenet1k", "classes.json", '["a", "b"]', "classes.json: 2 names for the model's 6 classes"),
        ("imagenet1k", "classes.json", json.dumps(["a"] * 7), "7 names for the model's 6 classes"),
        ("imagenet1k", "classes.json", "[1, 2, 3, 4, 5, 6]", "expected a JSON list of names"),
        ("imagenet1k", "classes.json", '"abcdef"', "expected a JSON list of names"),
        ("imagenet1k", "classes.json", "[" * 100_000, "classes.json: not valid JSON"),
        ("imagenet1k", "classes.json", "nothing", "classes.json: not valid JSON"),
        ("imagenet1k", "spm.model", None, "spm.model: has 34 ids, .* embeddings of 33;"),
        ("imagenet1k", "spm.model", "nothing", "spm.model: not a SentencePiece model"),
    ],
)  # fmt: skip
def test_files_that_do_not_belong_to_a_model_are_refused(
    project, tmp_path, item, name, content, message
):
    """As are names and ids that would mean something else."""
    checkpoint.save(model_of(item, 33), tmp_path)
    if content is None:
        content = (project / "exports/small/vqa" / name).read_bytes()
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as caught:
        predictor.load(tmp_path).classify(Image.open("image.jpg"))
    assert "\n" not in str(caught.value)
