"""CLIP and DINO as teachers of VQ-KD: their features, their weights from files, and what is
refused."""

import pytest
import torch
from safetensors.torch import save_file

from model.timm_import import import_timm
from model.tokenizer import teachers
from pipeline.errors import UserError
from pipeline.tokenizers.teacher_loading import NETWORKS, load_teacher
from pipeline.utils.safe_checkpoint import read

SUFFIX = {"clip": ".safetensors", "dino": ".pth"}


@pytest.fixture(scope="module", autouse=True)
def shallow():
    """Two of the twelve blocks, everything else as it is."""

    class Timm:
        @staticmethod
        def create_model(name, **settings):
            return import_timm().create_model(name, depth=2, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teachers, "import_timm", lambda: Timm)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights of each network: its path, and the network itself."""
    made = {}
    for kind, network in NETWORKS.items():
        torch.manual_seed(0)
        model, path = network().model, tmp_path_factory.mktemp(kind) / f"weights{SUFFIX[kind]}"
        torch.nn.init.normal_(model.norm.bias)
        state = model.state_dict()
        save_file(state, path) if SUFFIX[kind] == ".safetensors" else torch.save(state, path)
        made[kind] = path, model
    return made


@pytest.mark.parametrize(
    ("kind", "dim", "mean", "std"),
    [
        ("clip", 512, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ("dino", 768, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_features_are_patch_tokens_after_the_final_norm(weights, kind, dim, mean, std):
    path, model = weights[kind]
    image = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))  # in 0..1
    features = load_teacher(kind, str(path), 224, 16)(2 * image - 1)
    assert (
        features.shape == (2, 196, dim)
        and features.dtype == torch.float32
        and not features.requires_grad
    )
    x = model.patch_embed(
        (image - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    )
    x = model.norm_pre(torch.cat([model.cls_token.expand(2, -1, -1), x], dim=1) + model.pos_embed)
    x = model.norm(model.blocks(x))[:, 1:]
    expected = x @ model.head.weight.T + model.head.bias if kind == "clip" else x
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_timm_has_these_networks():
    timm = import_timm()
    sizes = {}
    for kind, network in NETWORKS.items():
        with torch.device("meta"):
            model = timm.create_model(network.name)
        sizes[kind] = sum(parameter.numel() for parameter in model.parameters())
        assert timm.get_pretrained_cfg(network.name) is not None
    # timm gives CLIP's projection a bias
    assert sizes == {"clip": 86_192_640 + 512, "dino": 85_798_656}


def test_an_archive_as_openai_publishes_it_gives_its_tensors(tmp_path):
    layer = torch.nn.Linear(2, 3)
    torch.jit.script(layer).save(str(tmp_path / "ViT-B-16.pt"))
    tensors = read(tmp_path / "ViT-B-16.pt")
    assert tensors.keys() == {"weight", "bias"} and torch.equal(tensors["weight"], layer.weight)
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match="broken.pt: not a checkpoint"):
        read(tmp_path / "broken.pt")


def test_what_cannot_be_a_teacher_is_refused_in_one_line(weights, tmp_path):
    empty = tmp_path / "empty.safetensors"
    empty.write_bytes(b"")
    torch.save({"x": torch.nn.Linear(1, 1)}, tmp_path / "module.pth")
    cases = [
        ("clip", "nowhere.safetensors", 224, "teacher_file: nowhere.safetensors: no such file"),
        ("dino", None, 224, "give the weights of vit_base_patch16_224.dino"),
        ("clip", None, 48, "choose hog"),
        ("dino", None, 384, "dino needs images of 224 px"),
        (
            "clip",
            weights["dino"][0],
            224,
            "not the weights of vit_base_patch16_clip_quickgelu_224.openai",
        ),
        ("dino", weights["clip"][0], 224, "not the weights of vit_base_patch16_224.dino"),
        ("dino", empty, 224, "not a checkpoint"),
        ("clip", tmp_path / "module.pth", 224, "has a torch.nn.modules.linear.Linear"),
    ]
    for kind, file, size, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            load_teacher(kind, file and str(file), size, 16)
        assert "\n" not in str(caught.value)
