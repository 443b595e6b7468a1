"""CLIP and DINO as teachers of VQ-KD: their features, their weights from files, and what is
refused."""

import pytest
import torch
from safetensors.torch import save_file

from model.timm_import import import_timm
from model.tokenizer import teachers
from pipeline.errors import UserError
from pipeline.tokenizers.teacher_loading import NETWORKS, load_teacher

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


OPENAI_NAMES = (
    ("patch_embed.proj", "conv1"),
    ("pos_embed", "positional_embedding"),
    ("cls_token", "class_embedding"),
    ("norm_pre", "ln_pre"),
    ("blocks.", "transformer.resblocks."),
    (".norm", ".ln_"),
    ("norm.", "ln_post."),
    ("qkv.", "in_proj_"),
    ("attn.proj", "attn.out_proj"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
)


def as_openai_names_them(state):
    """A CLIP's tensors under the names of its publisher, with parts of its text encoder."""
    tensors = {"logit_scale": torch.ones(()), "token_embedding.weight": torch.ones(3, 4)}
    for name, tensor in state.items():
        if name == "head.weight":
            tensors["visual.proj"] = tensor.T
            continue
        for here, there in OPENAI_NAMES:
            name = name.replace(here, there)
        tensors[f"visual.{name}"] = tensor.squeeze()
    del tensors["visual.head.bias"]
    tensors["visual.conv1.weight"] = state["patch_embed.proj.weight"]
    return tensors


class Archive(torch.nn.Module):
    """As OpenAI's, whose names have dots: parts in parts."""

    def __init__(self, tensors):
        super().__init__()
        for name, tensor in tensors.items():
            *parents, last = name.split(".")
            module = self
            for parent in parents:
                if not hasattr(module, parent):
                    module.add_module(parent, torch.nn.Module())
                module = getattr(module, parent)
            module.register_parameter(last, torch.nn.Parameter(tensor.contiguous()))

    def forward(self, x):
        return x


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("prefix", ["", "module.", "model."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "safetensors", "archive"])
def test_clip_as_openai_names_it_in_files_of_any_form(weights, tmp_path, prefix, wrapper):
    _, model = weights["clip"]
    with torch.no_grad():
        model.head.bias.zero_()
    state = model.state_dict()
    tensors = {prefix + name: tensor for name, tensor in as_openai_names_them(state).items()}
    path = tmp_path / "ViT-B-16.pt"
    if wrapper == "safetensors":
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    elif wrapper == "archive":
        torch.jit.trace(Archive(tensors), torch.ones(1)).save(str(path))
    else:
        torch.save({wrapper: tensors, "epoch": 3} if wrapper else tensors, path)
    loaded = load_teacher("clip", str(path), 224, 16).model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_teacher_that_is_no_number_teaches_nothing(weights, tmp_path, value):
    _, model = weights["dino"]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["blocks.1.mlp.fc2.bias"][5] = value
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(
        UserError, match=r"1 of the 768 numbers of model\.blocks\.1\.mlp\.fc2\.bias"
    ):
        load_teacher("dino", str(tmp_path / "x.pth"), 224, 16)


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
