"""What the importers of released weights share: any wrapper, prefix and type of numbers is read,
and what is not exactly a model's tensors is refused by name."""

import argparse

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from model.heads.classification import Classification, ClassificationConfig
from pipeline.errors import UserError
from pipeline.released import state_dict
from pipeline.released.state_dict import WRAPPERS, ReleasedFile, read, shapes_of, take, their_name
from tests.helpers.toy import BACKBONE

TENSORS = {
    "a.weight": torch.tensor([[1.0, 2.5]]),
    "a.bias": torch.tensor([0.1]),
    "n": torch.ones(1),
}
SHAPES = {"a.weight": (1, 2), "a.bias": (1,)}
KIND = "a test's file"


def saved(path, content):
    torch.save(content, path)
    return path


@pytest.mark.parametrize("wrapper", [None, *WRAPPERS])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_wrapper_prefix_and_type_is_read(tmp_path, wrapper, prefix, dtype, capsys):
    tensors = {prefix + name: tensor.to(dtype) for name, tensor in TENSORS.items()}
    beside = {"epoch": 3, "args": argparse.Namespace(lr=1.0), "optimizer": {"state": {0: TENSORS}}}
    file = read(saved(tmp_path / "x", {wrapper: tensors, **beside} if wrapper else tensors))
    assert file.wrapper == wrapper and file.dtypes == (str(dtype).removeprefix("torch."),)
    assert file.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert file.tensors[name].dtype == torch.float32
        assert torch.equal(file.tensors[name], tensor.to(dtype).float())
    assert file.beside.keys() == (beside.keys() if wrapper else set())
    assert capsys.readouterr().err == f"{file.describe()}\n"
    assert "3 tensors" in file.describe() and file.dtypes[0] in file.describe()
    assert (f"`{wrapper}`" if wrapper else "without a key") in file.describe()


def test_the_first_wrapper_counts_and_whole_numbers_stay(tmp_path):
    index = {"index": torch.tensor([2049])}
    content = {"model": {"b": torch.ones(2)}, "state_dict": TENSORS | index}
    assert read(saved(tmp_path / "x", content)).tensors["index"].tolist() == [2049]
    save_file(TENSORS, tmp_path / "y")
    assert read(tmp_path / "y").wrapper is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": 3}, "no tensors"),
        ({"state_dict": {}}, "no tensors"),
        ([torch.ones(1)], "no tensors"),
        ({"state_dict": {3: torch.ones(1)}}, "no tensors"),
        ({"state_dict": TENSORS, "callbacks": torch.nn.ReLU}, "could run code"),
    ],
)
def test_what_has_no_tensors_by_name_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(saved(tmp_path / "x", content))
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "y")


def test_exactly_the_expected_tensors_are_taken(tmp_path):
    file = ReleasedFile(tmp_path, TENSORS, None, ("float32",), {})
    assert take(file, SHAPES, ["n"], KIND).keys() == SHAPES.keys()
    assert take(file, SHAPES, ["x.*", "?"], KIND).keys() == SHAPES.keys()


@given(
    name=st.sampled_from(sorted(SHAPES)),
    damage=st.sampled_from(["absent", "shape", "axis", "whole", "nan", "infinite"]),
)
@settings(max_examples=30)
def test_every_damage_is_refused_with_the_tensors_name(tmp_path_factory, name, damage):
    damaged = {
        "absent": None,
        "shape": torch.ones(3),
        "axis": TENSORS[name][None],
        "whole": TENSORS[name].long(),
        "nan": TENSORS[name] * float("nan"),
        "infinite": TENSORS[name] / 0,
    }[damage]
    tensors = {**TENSORS, name: damaged}
    if damaged is None:
        del tensors[name]
    file = ReleasedFile(tmp_path_factory.getbasetemp(), tensors, None, ("float32",), {})
    with pytest.raises(UserError) as error:
        take(file, SHAPES, ["n"], KIND)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_what_is_left_over_is_refused_with_its_name(tmp_path):
    file = ReleasedFile(tmp_path, TENSORS | {"b.weight": torch.ones(1)}, None, ("float32",), {})
    with pytest.raises(UserError, match=r"too many, such as b\.weight; is it a test's file"):
        take(file, SHAPES, ["n"], KIND)
    with pytest.raises(UserError, match=r"missing, such as c \(b\.weight is too many\)"):
        take(file, SHAPES | {"c": (1,)}, ["n"], KIND)


def test_parts_of_names_are_replaced_between_dots():
    pairs = [("head", "classifier"), ("norm", "norm1"), ("a.b", "c")]
    assert their_name("blocks.0.norm.weight", pairs) == "blocks.0.norm1.weight"
    assert their_name("norm.norms.head", pairs) == "norm1.norms.classifier"
    assert their_name("a.b.a.b", pairs) == "c.c" and their_name("a.bb", pairs) == "a.bb"


def test_a_model_is_built_of_all_of_its_tensors():
    config = ClassificationConfig(BACKBONE, 3)
    model = Classification(config)
    shapes = shapes_of(lambda: Classification(config))
    assert shapes == {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    built = state_dict.build(Classification, config, model.state_dict())
    assert not built.training
    for name, tensor in built.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])
