"""Pretraining that starts from an import: VLMo's backbone with VLMo's tokenizer, and BEiTv2's image
path."""

from pathlib import Path

import pytest
import torch

from model import checkpoint
from pipeline.errors import UserError
from pipeline.tokenizers import text
from pipeline.tracking import client as tracking
from tests.helpers import tiny

SIZE = {"patch_size": 8, "depth": 2, "embed_dim": 16, "num_heads": 2, "mlp_dim": 32}
VLMO = {
    "layer_scale": 0.1,
    "relative_bias": True,
    "bias_per_block": True,
    "absolute_positions": False,
    "word_norm": True,
    "token_types": True,
    "vl_ffn_start_layer": 0,
}
BEIT = {"layer_scale": 0.1, "relative_bias": True, "absolute_positions": False}


def start(init: str, architecture: dict) -> dict:
    return {
        "budget": "ablation",
        "objectives": ["mlm", "mim", "mvlm"],
        "init": f"import/{init}",
        "architecture": architecture,
    }


def settings() -> dict:
    tree = tiny.settings()
    tree["imported_size"] = SIZE
    inputs = {"image_size": 24, "text_length": 40}
    file = "vlmo_base_patch16_224.pt"
    vlmo = {"family": "vlmo", "task": "pretrained", "file": file, "inputs": inputs}
    file = "beitv2_base_patch16_224_pt1k.pth"
    beit = {"family": "beitv2", "task": "pretrained", "file": file, "inputs": {"image_size": 24}}
    tree["imports"] = {"vlmo-pretrained": vlmo, "beitv2-pretrained": beit}
    warm_starts = {"vlmo": start("vlmo-pretrained", VLMO), "beit": start("beitv2-pretrained", BEIT)}
    tree["pretrain"]["warm_starts"] = warm_starts
    tree["pretrain"]["common"]["size"] |= {"text_length": 40, "caption_length": 32}
    tree["text_tokens"] |= {"max_length": 40}
    return tree


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The released files, imported, and the data of a pretraining that reads texts as VLMo does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tracking, "installed", lambda: False)
    tree = settings()
    tiny.write(tmp_path, tree)
    for name in tree["imports"]:
        tiny.run("imports", "download", name)
        tiny.run("imports", "model", name)
    released = Path("data/small/released/vlmo-pretrained/vocab.txt")
    vocab_size = text.TextTokenizer.load(released).vocab_size
    tree["text_tokenizer"] |= {"origin": "released", "file": str(released)}
    tree["text_tokenizer"] |= {"vocab_size": vocab_size}
    tiny.write(tmp_path, tree)
    for stage in tiny.stages():
        if stage[0] == "pretrain":
            break
        if stage[-1] not in (*tiny.PARTS, "vqav2", "nlvr2", "ade20k"):
            tiny.run(*stage)
    return tmp_path


def test_weights_are_taken_over_and_trained(project: Path, capsys: pytest.CaptureFixture) -> None:
    assert text.of_scale("small").name == "vocab.txt"
    for name, init in (("vlmo", "vlmo-pretrained"), ("beit", "beitv2-pretrained")):
        tiny.run("pretrain", name)
        trained = checkpoint.load(Path("runs/small/pretrain", name, "model"))
        started = checkpoint.load(Path("runs/small/import", init, "model"))
        ours, theirs = trained.backbone.state_dict(), started.backbone.state_dict()
        patches = "patch_embed.weight"
        moved = (ours[patches] - theirs[patches]).abs().max()
        assert 0 < moved < 0.05  # four steps from where it started
        assert text.in_folder(Path("runs/small/pretrain", name, "model")).name == "vocab.txt"
        shared = "relative_bias.image_table" if name == "beit" else "blocks.1.attn_scale"
        assert torch.allclose(ours[shared], theirs[shared], atol=0.05)
    assert "weights from runs/small/import/vlmo-pretrained/model" in capsys.readouterr().err


def test_what_the_architecture_lacks_is_one_line(project: Path) -> None:
    tree = settings()
    released = Path("data/small/released/vlmo-pretrained/vocab.txt")
    vocab_size = text.TextTokenizer.load(released).vocab_size
    tree["text_tokenizer"] |= {"origin": "released", "file": str(released)}
    tree["text_tokenizer"] |= {"vocab_size": vocab_size}
    tree["pretrain"]["warm_starts"]["beit"]["architecture"]["layer_scale"] = 0.0
    tiny.write(project, tree)
    with pytest.raises(UserError, match="no place for, such as blocks.0.attn_scale.*layer_scale"):
        tiny.run("pretrain", "beit")
    tree["text_tokenizer"] |= {"vocab_size": 77}
    tiny.write(project, tree)
    with pytest.raises(UserError, match="text_tokenizer.vocab_size: 77, but .* has"):
        tiny.run("text_tokenizer")
