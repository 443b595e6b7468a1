"""Pretraining that starts from released weights: VLMo's backbone with VLMo's tokenizer, and BEiTv2's
path of images. Stages from raw data to the model, on tiny settings and made-up files."""

import shutil
from pathlib import Path

import pytest
import torch

from model import checkpoint
from pipeline.errors import UserError
from pipeline.pretraining.task import PretrainingTask
from pipeline.released.synthetic import tokenizers
from pipeline.tokenizers import text
from pipeline.tracking import client as tracking
from tests.helpers import tiny

STAGES = (
    *(("download", source) for source in ("coco", "flickr30k", "wikipedia")),
    ("decontamination",),
    ("shard", "coco"),
    ("shard", "wikipedia"),
    ("text_tokenizer",),
    ("text_tokens", "wikipedia"),
    ("visual_tokenizer",),
    ("visual_tokens", "coco"),
    ("imports", "vlmo"),
    ("imports", "beit"),
)
VOCABULARY = Path("data/small/weights/vocab.txt")
IMPORTS = {
    "vlmo": {
        "family": "vlmo",
        "task": "pretrained",
        "file": "vlmo_base_patch16_224.pt",
        "inputs": {"image_size": 24, "text_length": 40},
    },
    "beit": {
        "family": "beitv2",
        "task": "pretrained",
        "file": "beitv2_base_patch16_224_pt1k.pth",
        "inputs": {"image_size": 32},  # resized to 24
    },
}
BEIT = {"layer_scale": 0.1, "relative_bias": True, "absolute_positions": False}
VLMO = {
    **BEIT,
    "bias_per_block": True,
    "word_norm": True,
    "token_types": True,
    "vl_ffn_start_layer": 0,
}
UNTRAINED = {"budget": "none", "objectives": []}
TRAINED = {"budget": "main", "objectives": ["mlm", "mim", "mvlm"]}
TABLE = "relative_bias.image_table"


def settings():
    """Two sources, and starts from both models with and without training."""
    tree = tiny.settings()
    tree["visual_tokenizer"]["sources"] = {"coco": 1}
    tree["visual_tokens"]["pairs"]["sources"] = ["coco"]
    vocab_size = len(VOCABULARY.read_text().splitlines())
    tree["text_tokenizer"] |= {"origin": "released", "file": str(VOCABULARY)}
    tree["text_tokenizer"] |= {"vocab_size": vocab_size}
    tree["text_tokens"]["max_length"] = 40
    common = tree["pretrain"]["common"]
    common["dimensions"]["text_length"] = 40
    common["data"]["images"]["sources"] = common["data"]["pairs"]["sources"] = {"coco": 1}
    common["data"]["texts"]["sources"] = {"wikipedia": 1}
    common["validation"] |= {"texts": ["wikipedia"], "images": ["coco"], "pairs": ["coco"]}
    tree["pretrain"]["variants"]["beit-fresh"] = {**UNTRAINED, "architecture": BEIT}
    tree["pretrain"]["warm_starts"] = {
        "vlmo-start": {**UNTRAINED, "architecture": VLMO, "init": "import/vlmo"},
        "vlmo-trained": {**TRAINED, "architecture": VLMO, "init": "import/vlmo"},
        "beit-start": {**UNTRAINED, "architecture": BEIT, "init": "import/beit"},
        "beit-trained": {**TRAINED, "architecture": BEIT, "init": "import/beit"},
    }
    tree["imported_size"] = {key: common["dimensions"][key] for key in tree["imported_size"]}
    tree["imports"] = IMPORTS
    return tree


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "installed", lambda: False)
        patch.chdir(folder)
        VOCABULARY.parent.mkdir(parents=True)
        tokenizers.write(VOCABULARY)
        tiny.write(folder, settings())
        for stage in STAGES:
            tiny.run(*stage)
        yield folder


@pytest.fixture
def changed(project):
    """Writes params.yaml with a key of a warm start that is another."""

    def write(name, **values):
        tree = settings()
        tree["pretrain"]["warm_starts"][name] |= values
        tiny.write(project, tree)

    yield write
    tiny.write(project, settings())


def pretrained(name):
    tiny.run("pretrain", name)
    return backbone(f"pretrain/{name}")


def backbone(folder):
    return checkpoint.load(Path("runs/small", folder, "model")).backbone.state_dict()


def equal(ours, theirs, names):
    return all(torch.equal(ours[name], theirs[name]) for name in names)


def test_a_start_from_vlmo_has_all_of_its_backbone(project):
    started, released = pretrained("vlmo-start"), backbone("import/vlmo")
    assert started.keys() == released.keys()
    assert equal(started, released, released)


def test_a_start_from_beit_has_its_images_and_fresh_texts(project, capsys):
    started, log = pretrained("beit-start"), capsys.readouterr().err
    released, fresh = backbone("import/beit"), pretrained("beit-fresh")
    assert started[TABLE].shape != released[TABLE].shape
    assert started[TABLE].any()
    assert equal(started, released, released.keys() - {TABLE})
    others = started.keys() - released.keys()
    assert {"word_embed.weight", "mask_token", "blocks.0.text_expert.norm.weight"} <= others
    assert equal(started, fresh, others)
    assert f"weights from runs/small/import/beit/model: {len(released) - 1} tensors matched" in log
    assert f"1 resized ({TABLE}); {len(others)} missing" in log


def test_training_moves_on_from_there_with_the_released_tokenizer(project):
    trained, released = pretrained("beit-trained"), backbone("import/beit")
    name = "blocks.0.image_expert.mlp.fc1.weight"
    assert 0 < (trained[name] - released[name]).norm() < 0.5 * released[name].norm()
    tokenizer = text.in_folder(project / "runs/small/pretrain/beit-trained/model")
    assert tokenizer.name == "vocab.txt"
    assert tokenizer.read_bytes() == VOCABULARY.read_bytes()


class Killed(Exception):
    pass


def test_a_killed_start_resumes_to_the_same_bytes(project, monkeypatch, capsys):
    weights = project / "runs/small/pretrain/vlmo-trained/model/model.safetensors"
    pretrained("vlmo-trained")
    undisturbed = weights.read_bytes()
    weights.unlink()
    for work_dir in (project / ".work").glob("small-pretrain-vlmo-trained-*"):
        shutil.rmtree(work_dir)
    steps, loss = iter(range(3)), PretrainingTask.loss

    def dying_loss(*arguments):
        if next(steps, None) is None:
            raise Killed
        return loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(PretrainingTask, "loss", dying_loss)
        with pytest.raises(Killed):
            tiny.run("pretrain", "vlmo-trained")
    pretrained("vlmo-trained")
    assert "resumed at step 2 of 4" in capsys.readouterr().err
    assert weights.read_bytes() == undisturbed


@pytest.mark.parametrize(
    "architecture, message",
    [
        ({**BEIT, "layer_scale": 0.0}, "no place for, such as blocks.0.attn_scale"),
        ({**BEIT, "absolute_positions": True}, "no weights for 1 of .*, such as image_positions"),
        ({**BEIT, "token_types": True}, "no weights for 1 of .*, such as token_types"),
        ({**BEIT, "bias_per_block": True}, "no weights for 2 of .*relative_bias.image_table"),
    ],
)
def test_images_start_as_a_whole(changed, architecture, message):
    changed("beit-start", architecture=architecture)
    with pytest.raises(UserError, match=f"^[^\n]*{message}[^\n]*; see pretrain[^\n]*$"):
        tiny.run("pretrain", "beit-start")


@pytest.mark.parametrize(
    "size, message",
    [
        ({"depth": 3}, "no weights for 15 of .*, such as blocks.2"),
        ({"num_heads": 4}, "num_heads 2, but it is to have 4"),
        ({"embed_dim": 32}, "shapes differ in "),
        ({"text_length": 48}, "shapes differ in blocks.0.relative_bias.text_table"),
    ],
)
def test_sizes_are_those_of_the_model_to_start_from(changed, size, message):
    name = "vlmo-start" if "text_length" in size else "beit-start"
    changed(name, dimensions=size)
    with pytest.raises(UserError, match=f"^[^\n]*{message}[^\n]*; see pretrain[^\n]*$"):
        tiny.run("pretrain", name)


def test_texts_are_read_with_the_tokenizer_of_the_model_to_start_from(project):
    tokenizer = project / "data/small/text_tokenizer/vocab.txt"
    original = tokenizer.read_bytes()
    first, second, *others = original.decode().splitlines()
    tokenizer.write_text("\n".join([second, first, *others]) + "\n")
    with pytest.raises(UserError, match="vocab.txt: not the tokenizer of the model to start from"):
        tiny.run("pretrain", "vlmo-start")
    tokenizer.write_bytes(original)


def test_a_start_needs_the_model_and_a_name_of_its_own(changed):
    changed("beit-start", init="import/nothing")
    with pytest.raises(UserError, match="import/nothing/model/config.json: not found"):
        tiny.run("pretrain", "beit-start")


def test_no_variant_has_the_name_of_a_warm_start(project):
    tree = settings()
    tree["pretrain"]["warm_starts"]["main"] = tree["pretrain"]["warm_starts"]["beit-start"]
    tiny.write(project, tree)
    with pytest.raises(UserError, match="pretrain.warm_starts.main: a variant has this name"):
        tiny.run("pretrain", "main")
    tiny.write(project, settings())


def test_another_number_of_ids_than_the_released_file_has_is_refused(project):
    tree = settings()
    tree["text_tokenizer"]["vocab_size"] = 77
    tiny.write(project, tree)
    with pytest.raises(UserError, match="text_tokenizer.vocab_size: 77, but .* ids$"):
        tiny.run("text_tokenizer")
    tiny.write(project, settings())
