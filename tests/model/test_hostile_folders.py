"""Model folders that are damaged or lie end in one line, before any memory is taken for them."""

import json
import math
import os
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from model import checkpoint
from model.backbone.vl_beit import VLBeit
from model.checkpoint import Pretrained
from model.heads.classification import Classification, ClassificationConfig
from model.heads.segmentation import Segmentation, SegmentationConfig
from model.heads.vqa import VQA, VQAConfig
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from model.tokenizer.vqkd import VisualTokenizer
from pipeline.errors import UserError
from pipeline.tasks import runner
from pipeline.utils import model_folder
from tests.helpers.toy import BACKBONE, HEAD
from tests.model.test_checkpoint import TOKENIZER

MODELS = {
    "backbone": lambda: VLBeit(BACKBONE),
    "pretrained": lambda: MaskedModeling(MaskedModelingConfig(BACKBONE, codebook_size=20)),
    "classifier": lambda: Classification(ClassificationConfig(BACKBONE, classes=3)),
    "vqa": lambda: VQA(VQAConfig(BACKBONE, ("a", "b"))),
    "segmentation": lambda: Segmentation(SegmentationConfig(BACKBONE, HEAD)),
    "tokenizer": lambda: VisualTokenizer(TOKENIZER),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each model."""
    root = tmp_path_factory.mktemp("models")
    for name, build in MODELS.items():
        checkpoint.save(build(), root / name)
    return root


def changed(folder, target, **keys):
    """A copy of a folder with other values in config.json, by their paths with dots."""
    target.mkdir(exist_ok=True)
    (target / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    tree = json.loads((folder / "config.json").read_text())
    for path, value in keys.items():
        *parents, last = path.split(".")
        part = tree
        for parent in parents:
            part = part[parent]
        part[last] = value
    (target / "config.json").write_text(json.dumps(tree))
    return target


def refused(folder, message="config.json"):
    with pytest.raises(ValueError, match=message) as caught:
        checkpoint.load(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
    with pytest.raises(UserError, match=message) as caught:
        model_folder.load(folder, "train it again")
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
KEYS = sorted(
    {"model", *vars(TOKENIZER), "backbone", "classes", "answers", "head", "statistics"}
    | {f"backbone.{key}" for key in vars(BACKBONE)}
    | {f"head.{key}" for key in vars(HEAD)}
)


@settings(max_examples=20)
@given(
    content=JSON
    | st.builds(
        lambda name, rest: {"model": name, **rest},
        st.sampled_from(["VLBeit", "VQA", "Segmentation", "VisualTokenizer"]),
        st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3),
    )
)
def test_any_json_as_config_is_refused_in_one_line(tmp_path_factory, folders, content):
    folder = tmp_path_factory.mktemp("any")
    (folder / "model.safetensors").write_bytes(
        (folders / "backbone" / "model.safetensors").read_bytes()
    )
    (folder / "config.json").write_text(json.dumps(content))
    refused(folder)


@settings(max_examples=30)
@given(name=st.sampled_from(sorted(MODELS)), key=st.sampled_from(KEYS), value=JSON)
def test_any_value_of_a_key_gives_the_model_or_one_line(
    tmp_path_factory, folders, name, key, value
):
    tree = json.loads((folders / name / "config.json").read_text())
    parent = key.rpartition(".")[0]
    if parent and parent not in tree:
        return
    folder = changed(folders / name, tmp_path_factory.mktemp("value"), **{key: value})
    try:
        model = checkpoint.load(folder)
    except ValueError as error:
        assert "\n" not in str(error) and str(folder) in str(error)
    else:
        assert isinstance(model, Pretrained)


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("backbone", "depth", 10**6, "depth: expected 1 to 1000 blocks"),
        ("tokenizer", "depth", 10**6, "depth: expected 1 to 1000 blocks"),
        ("backbone", "depth", 30, r"\d+ tensors are missing, such as blocks\.4\."),
        ("backbone", "depth", 2, r"\d+ tensors are too many, such as blocks\.2\."),
        ("backbone", "embed_dim", 10**6, "is .* instead of .*1000000"),
        ("backbone", "mlp_dim", 2**31 - 1, "is .* instead of .*2147483647"),
        ("backbone", "vocab_size", 10**9, r"word_embed\.weight is \[40, 16\] instead of"),
        ("backbone", "image_size", 4 * 10**8, "config.json|instead of"),
        ("backbone", "embed_dim", 10**30, "embed_dim: expected int, found 10000"),
        ("backbone", "embed_dim", "16", "config.embed_dim: expected int, found '16'"),
        ("backbone", "embed_dim", 16.0, "config.embed_dim: expected int, found 16.0"),
        ("backbone", "init_std", 0, "init_std: expected more than 0, found 0"),
        ("backbone", "token_types", 1, "config.token_types: expected bool, found 1"),
        ("backbone", "depth", True, "config.depth: expected int, found True"),
        ("backbone", "num_heads", -2, "config.num_heads: expected int, found -2"),
        ("backbone", "num_heads", 0, "ZeroDivisionError"),
        ("backbone", "init_std", math.nan, "config.init_std: expected float, found nan"),
        ("backbone", "layer_scale", math.inf, "config.layer_scale: expected float, found inf"),
        ("classifier", "backbone.depth", None, "config.backbone.depth: expected int, found None"),
        ("classifier", "backbone", [1], "config.backbone: expected an object"),
        ("vqa", "answers", "ab", "config.answers: expected a list, found 'ab'"),
        ("vqa", "answers", ["a", 1], r"config.answers\[1\]: expected str, found 1"),
        ("segmentation", "head.layers", [0, 1, 2, "3"], r"config.head.layers\[3\]: expected int"),
        ("segmentation", "statistics", "none", "config.statistics: expected"),
        ("backbone", "model", ["VLBeit"], "unhashable"),
    ],
)  # fmt: skip
def test_sizes_and_types_are_refused_by_their_key(folders, tmp_path, name, key, value, message):
    refused(changed(folders / name, tmp_path / "x", **{key: value}), message)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"model":' * 50_000,
        "9" * 10_000,
        "",
        "\ufeff{}",
        "NaN",
        '{"model": "VLBeit"}',
    ],
)
def test_texts_that_are_no_configuration(folders, tmp_path, content):
    folder = changed(folders / "backbone", tmp_path / "x")
    (folder / "config.json").write_text(content, encoding="utf-8")
    refused(folder)
    with pytest.raises(UserError, match="config.json") as caught:
        runner.backbone_config(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["config.json", "model.safetensors"])
def test_a_pipe_or_a_folder_in_place_of_a_file_is_no_file(folders, tmp_path, part):
    for make in (os.mkfifo, os.mkdir):
        folder = changed(folders / "backbone", tmp_path / make.__name__)
        (folder / part).unlink()
        make(folder / part)
        with pytest.raises(UserError, match=f"{part}: not found; do this"):
            model_folder.load(folder, "do this")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_neither_written_nor_read(folders, tmp_path, value):
    for name, build in MODELS.items():
        folder = changed(folders / name, tmp_path / name)
        tensors = load_file(folder / "model.safetensors")
        spoiled = next(reversed([key for key in tensors if tensors[key].is_floating_point()]))
        tensors[spoiled].view(-1)[-1] = value
        save_file(tensors, folder / "model.safetensors")
        refused(folder, rf"1 of the [\d,]+ numbers of {spoiled} are NaN or infinite")
        model = build()
        model.state_dict()[spoiled].view(-1)[0] = value
        with pytest.raises(ValueError, match="NaN or infinite"):
            model.save_pretrained(tmp_path / "none")
        assert not (tmp_path / "none").exists()
    with pytest.raises(UserError, match=r"numbers of .* are NaN or infinite") as caught:
        runner._start_from(VLBeit(BACKBONE), spoiled_backbone(folders, tmp_path / "b", value))
    assert "\n" not in str(caught.value)


def spoiled_backbone(folders, target, value):
    folder = changed(folders / "pretrained", target)
    tensors = load_file(folder / "model.safetensors")
    tensors["backbone.norm.bias"][2] = value
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_a_number_too_large_for_the_model_s_type_is_infinite_there(folders, tmp_path):
    folder = changed(folders / "backbone", tmp_path / "x")
    tensors = load_file(folder / "model.safetensors")
    tensors["norm.bias"] = tensors["norm.bias"].double() + 1e300
    save_file(tensors, folder / "model.safetensors")
    refused(folder, "numbers of norm.bias are NaN or infinite")


def header_of(data):
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(header, tensors):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def test_headers_that_lie_are_refused(folders, tmp_path):
    whole = (folders / "backbone" / "model.safetensors").read_bytes()
    header, tensors = header_of(whole)
    huge = {**header, "norm.bias": {**header["norm.bias"], "shape": [2**40]}}
    overlapping = {**header, "norm.bias": {**header["norm.bias"], "data_offsets": [0, 64]}}
    integers = {**header, "norm.bias": {**header["norm.bias"], "dtype": "I32"}}
    unknown = {**header, "norm.bias": {**header["norm.bias"], "dtype": "X7"}}
    contents = [
        whole[:-1],
        whole[:9],
        b"",
        struct.pack("<Q", 2**60) + whole[8:],
        with_header(huge, tensors),
        with_header(overlapping, tensors),
        with_header(integers, tensors),
        with_header(unknown, tensors),
        with_header({}, tensors),
        with_header(b"[" * 100_000, tensors),
        with_header(b"\xff" * 30, tensors),
        with_header(
            {name: value for name, value in header.items() if name != "norm.bias"}, tensors
        ),
    ]
    for number, content in enumerate(contents):
        folder = changed(folders / "backbone", tmp_path / str(number))
        (folder / "model.safetensors").write_bytes(content)
        refused(folder, "model.safetensors: not")
        (folder / "model.safetensors").write_bytes(content)
        if number != 6:  # integers are numbers, too: a backbone takes them over as they are
            with pytest.raises(ValueError, match=str(folder)):
                checkpoint.load_backbone(VLBeit(BACKBONE), folder)


@given(position=st.integers(0, 10**9), byte=st.integers(0, 255))
def test_any_damaged_byte_of_a_header_gives_one_line_or_the_model(
    tmp_path_factory, folders, position, byte
):
    data = bytearray((folders / "backbone" / "model.safetensors").read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    data[position % (8 + length)] = byte
    folder = changed(folders / "backbone", tmp_path_factory.mktemp("byte"))
    (folder / "model.safetensors").write_bytes(data)
    try:
        checkpoint.load(folder)
    except ValueError as error:
        assert "\n" not in str(error) and str(folder) in str(error)


def test_tables_of_any_shape_are_refused_by_name(tmp_path):
    source = MaskedModeling(MaskedModelingConfig(BACKBONE, codebook_size=20))
    checkpoint.save(source, tmp_path)
    for shape in ((3,), (1, 1, 1, 1), (0,), (1, 0, 16), (1, 18, 16), (2, 5, 16), (1, 5, 7)):
        tensors = source.state_dict() | {"backbone.image_positions": torch.zeros(shape)}
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            tmp_path / "model.safetensors",
        )
        with pytest.raises(ValueError, match="shapes differ in image_positions") as caught:
            checkpoint.load_backbone(VLBeit(BACKBONE), tmp_path)
        assert "\n" not in str(caught.value)
