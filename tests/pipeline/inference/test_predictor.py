"""Exported models and their cards."""

import json
import sys

import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData
from PIL import Image

from model import checkpoint
from model.timm_encoder import ImageEncoder, timm
from pipeline.config import yaml_reader
from pipeline.data.datasets import facts
from pipeline.data.transforms import images
from pipeline.errors import UserError
from pipeline.inference import closure, predictor
from pipeline.inference.row_predictor import RowPredictor
from stages import export
from tests.helpers import tiny
from tests.helpers.doc_examples import WORDS, run_example
from tests.helpers.exported import ANSWERS, SCENES, model_of, write_project
from tests.test_imports import top_level


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    write_project(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


def test_every_export_is_complete_by_itself(project, tmp_path):
    for item in ("main", *tiny.PRETRAINED):
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
        for item in ("main", *tiny.PRETRAINED)
    }
    for item, card in cards.items():
        assert "\n\n\n" not in card and "{{" not in card, item
        assert "\n---\n\n# VL-BEiT: " in card
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


def test_the_hub_reads_what_cards_say(project):
    cards = {
        item: ModelCard.load(f"exports/small/{item}/README.md")
        for item in ("main", *tiny.PRETRAINED)
    }
    for item, card in cards.items():
        data = card.data
        assert ModelCardData(**yaml_reader.parse(data.to_yaml().encode())) == data, item
        assert (data.license, data.library_name) == ("apache-2.0", "vlbeit")
        assert data.language == (None if item.startswith(("imagenet", "ade20k")) else "en")
        assert "generated-cc3m" in data.datasets and len(set(data.datasets)) == len(data.datasets)
    tags = {item: card.data.pipeline_tag for item, card in cards.items()}
    assert (tags["vqa"], tags["nlvr2"]) == ("visual-question-answering", None)
    (pretrained,) = cards["main"].data.eval_results
    assert (pretrained.metric_name, pretrained.metric_value) == ("mlm_accuracy", 0.125)
    first, second = cards["imagenet1k"].data.eval_results
    assert (first.task_type, first.dataset_name) == ("image-classification", "generated-imagenet1k")
    assert (first.metric_type, first.metric_name, first.metric_value) == ("accuracy", "acc1", 0.25)
    assert (second.metric_type, second.metric_value) == ("acc5", 0.5)
    assert cards["vqa"].data.eval_results is None  # its result has no headline


def test_timm_creates_the_exported_classifier(project):
    created = timm.create_model("local-dir:exports/small/imagenet1k", pretrained=True).eval()
    loaded = predictor.load("exports/small/imagenet1k")
    pixels = loaded.pixels([Image.open("image.jpg")])
    assert torch.equal(created(pixels), loaded.model(pixels))
    assert tuple(created.pretrained_cfg["label_names"]) == loaded.classes


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
    allowed = {
        *sys.stdlib_module_names,
        *("PIL", "numpy", "safetensors", "sentencepiece", "timm", "torch", "torchvision"),
        "tokenizers",  # only where texts are read with WordPiece
        "huggingface_hub",  # only for models of the hub; comes with timm
        "scipy",  # only where relative biases, which are off, are resized
        *("model", "pipeline"),
    }
    for path in closure.files(tiny.ROOT):
        assert top_level(tiny.ROOT / path) <= allowed, path


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
