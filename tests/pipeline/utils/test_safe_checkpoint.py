"""Checkpoints of others: their tensors come out, whatever wraps them, and nothing in them runs."""

import argparse
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from pipeline.errors import UserError
from pipeline.utils.safe_checkpoint import read, read_tensors

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


class Tower(nn.Module):
    """As OpenAI's archives: half precision, parts of parts, buffers, a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.randn(4))
        self.blocks = nn.Sequential(
            nn.Linear(4, 4), nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4))
        )
        self.norm = nn.BatchNorm1d(4)
        self.empty = nn.Parameter(torch.zeros(0, 4))
        self.register_buffer("size", torch.tensor([224]))
        self.register_buffer("shown", torch.tensor(True))

    def forward(self, x):
        return self.norm(self.blocks(x) + self.class_embedding)


def tower(dtype=torch.float32):
    torch.manual_seed(0)
    model = Tower().eval()
    model.blocks.to(dtype)
    return model


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_torchscript_archive_gives_the_state_of_its_module(tmp_path, dtype):
    model = tower(dtype)
    torch.jit.script(model).save(str(tmp_path / "scripted.pt"))
    same(read_tensors(tmp_path / "scripted.pt"), model.state_dict())


def test_a_traced_one_does_too(tmp_path):
    model = tower()
    torch.jit.trace(model, torch.randn(3, 4)).save(str(tmp_path / "traced.pt"))
    same(read_tensors(tmp_path / "traced.pt"), model.state_dict())


def test_shared_and_transposed_tensors(tmp_path):
    weight = torch.arange(6.0).view(2, 3)
    torch.save(
        {"a": weight, "b": weight.T, "c": weight[1:], "d": nn.Parameter(weight)}, tmp_path / "x"
    )
    found = read_tensors(tmp_path / "x")
    same(found, {"a": weight, "b": weight.T, "c": weight[1:], "d": weight})
    assert found["a"].untyped_storage().data_ptr() == found["b"].untyped_storage().data_ptr()


PLAIN = {"conv.weight": torch.randn(2, 3), "ln.bias": torch.randn(2).half()}
OTHERS = {
    "args": argparse.Namespace(lr=1.0, betas=[0.9, 0.99], output=None),
    "epoch": 99,
    "optimizer": {"state": {0: {"step": torch.ones(()), "flags": (1, True, None)}}, "groups": [{}]},
}


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "module", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model.", "_orig_mod.module."])
@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.safetensors", "x.bin", "x"])
def test_content_decides_not_names(tmp_path, wrapper, prefix, name):
    state = OrderedDict((prefix + key, tensor) for key, tensor in PLAIN.items())
    state._metadata = {"": {"version": 1}}  # as of nn.Module.state_dict
    torch.save({wrapper: state, **OTHERS} if wrapper else state, tmp_path / name)
    same(read_tensors(tmp_path / name), PLAIN)
    if wrapper is None:
        save_file(dict(state), tmp_path / name)
        same(read_tensors(tmp_path / name), PLAIN)


def test_a_prefix_that_some_names_lack_is_part_of_the_names(tmp_path):
    tensors = {"model.a": torch.ones(1), "other": torch.ones(1)}
    torch.save({"state_dict": {"model": tensors}}, tmp_path / "x.pt")
    assert read_tensors(tmp_path / "x.pt").keys() == tensors.keys()


def refused(path, message="not a checkpoint"):
    with pytest.raises(UserError, match=message) as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


class Calls:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    "function",
    [os.system, os.mkdir, eval, exec, print, getattr, subprocess.call, __import__, torch.load,
     torch.from_file, torch.jit.load, torch.hub.load, nn.Linear, pickle.loads],
    ids=lambda function: getattr(function, "__qualname__", str(function)),
)  # fmt: skip
def test_no_function_of_a_pickle_is_called(tmp_path, monkeypatch, function):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": PLAIN, "args": Calls(function, str(tmp_path / "harm"))}, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "has a .* in it, which could run code")
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


class Writes(nn.Module):
    """Writes a file where it is loaded as a program."""

    def __init__(self, path: str):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))
        self.path: str = path

    def forward(self, x):
        return x

    @torch.jit.export
    def __getstate__(self):
        return (self.path, self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]):
        self.path = state[0]
        self.weight = torch.from_file(self.path, True, 8)
        self.training = state[2]


class Waits(nn.Module):
    """Never ends where it is loaded as a program."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, x):
        return x

    @torch.jit.export
    def __getstate__(self):
        return (self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        count = 0
        while count >= 0:
            count = (count + 1) % 1000
        self.weight, self.training = state


def test_no_program_of_an_archive_runs(tmp_path):
    for name, module in (("writes", Writes(str(tmp_path / "harm"))), ("waits", Waits())):
        torch.jit.script(module).save(str(tmp_path / f"{name}.pt"))
        refused(tmp_path / f"{name}.pt", "no tensors")
    assert not (tmp_path / "harm").exists()


def archive(path, data, **parts):
    """A zip as torch writes them, with any pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", data)
        for name, content in parts.items():
            file.writestr(f"x/data/{name}", content)
    return path


def storage(key="0", kind="FloatStorage", numel=4):
    """Instructions for a storage."""
    number = b"\x8a\x08" + numel.to_bytes(8, "little", signed=True)  # LONG1
    text = b"X" + len(key).to_bytes(4, "little") + key.encode()
    return (
        b"(X\x07\x00\x00\x00storagectorch\n"
        + kind.encode()
        + b"\n"
        + text
        + b"X\x03\x00\x00\x00cpu"
        + number
        + b"tQ"
    )


def tensor(size, stride, offset=0, **options):
    """Instructions for a dict with a tensor."""

    def numbers(values):
        return (
            b"("
            + b"".join(b"\x8a\x08" + v.to_bytes(8, "little", signed=True) for v in values)
            + b"t"
        )

    return (
        b"\x80\x02}(X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n("
        + storage(**options) + numbers([offset])[1:-1] + numbers(size) + numbers(stride)
        + b"\x89ccollections\nOrderedDict\n)RtRu."
    )  # fmt: skip


FOUR = b"\x00\x00\x80\x3f" * 4


def test_these_archives_are_read(tmp_path):
    path = archive(tmp_path / "x", tensor([2, 2], [2, 1]), **{"0": FOUR})
    same(read_tensors(path), {"a": torch.ones(2, 2)})


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (tensor([2**40], [0]), {"0": FOUR}),  # numbers that are repeated
        (tensor([2**20, 2**20], [0, 0]), {"0": FOUR}),
        (tensor([2, 2], [2, 1], offset=1), {"0": FOUR}),  # beyond the end
        (tensor([2, 2], [2, -1]), {"0": FOUR}),
        (tensor([-2, 2], [2, 1]), {"0": FOUR}),
        (tensor([2, 2], [2, 1], numel=2**40), {"0": FOUR}),
        (tensor([2, 2], [2, 1], numel=3), {"0": FOUR}),
        (tensor([2, 2], [2, 1], kind="LongStorage"), {"0": FOUR}),
        (tensor([2, 2], [2, 1], kind="UntypedStorage"), {"0": FOUR}),
        (tensor([2, 2], [2, 1], key="../../etc/passwd"), {"0": FOUR}),
        (tensor([2, 2], [2, 1]), {}),
        (b"", {}),
        (b"\x80\x02", {}),
        (b"\x80\x02}", {}),
        (b"\x80\x02N.", {}),
        (b"\x80\x02}(" + b")" + b"\x85" * 300_000 + b"K\x01u.", {}),  # a key of nested tuples
        (b"\x80\x02]" + b"\x85" * 300_000 + b".", {}),
        (b"\x80\x02}r\xff\xff\xff\xff.", {}),  # the 4,294,967,295th place of the memory
        (b"\x80\x02X\xff\xff\xff\xffabc.", {}),  # a text of 4 GB
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.", {}),
        (b"\x80\x02(" + b"]" * 10 + b"\x90.", {}),  # a set
        (b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", {}),
        (b"\x80\x02c__torch__.a\nB\n)\x81}q\x00(X\x01\x00\x00\x00aK\x01ub.", {}),
        (b"\x80\x02c__torch__.a\nB\n)\x81q\x00}(X\x01\x00\x00\x00ah\x00ub.", {}),  # itself in itself
        (b"\x80\x02(Q.", {}),
        (b"i" * 100, {}),
    ],
)  # fmt: skip
def test_hostile_archives_end_in_one_line(tmp_path, data, parts):
    refused(archive(tmp_path / "x", data, **parts), "x: not a checkpoint|x: no tensors")


def test_parts_that_contain_each_other_twice_at_each_level(tmp_path):
    """2^60 names out of a few bytes."""
    data = b"\x80\x02"
    for level in range(60):
        inner = b"N" if level == 0 else b"h" + bytes([level - 1])
        data += b"c__torch__.a\nB\n)\x81}(X\x01\x00\x00\x00a" + inner
        data += b"X\x01\x00\x00\x00b" + inner + b"ubq" + bytes([level])
    refused(archive(tmp_path / "x", data + b"."), "more than 100,000 objects")


def test_compressed_and_overlapping_parts_are_refused(tmp_path):
    zeros = bytes(10**7)
    with zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x/data.pkl", tensor([1], [1], numel=len(zeros) // 4), zipfile.ZIP_STORED)
        file.writestr("x/data/0", zeros)
    refused(tmp_path / "x", "compressed")
    with zipfile.ZipFile(tmp_path / "y", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x/data.pkl", b"\x80\x02" + b"N0" * 10**6 + b"N.")
    refused(tmp_path / "y", "compressed")


def test_a_pickle_that_is_too_large_is_not_read(tmp_path):
    refused(
        archive(tmp_path / "x", b"\x80\x02" + b"N0" * 9_000_000 + b"N."), "more than 16,777,216"
    )


def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "x.pt"
    torch.save({"model": PLAIN, **OTHERS}, path)
    return path.read_bytes()


@given(content=st.binary(max_size=200))
@example(b"")
@example(b"PK\x03\x04")
@example(b"PK\x05\x06" + bytes(18))
@example(b"\xff" * 8 + b"{")
@example(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
@example(b"\x80\x02}.")
def test_any_bytes_end_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "x.pt"
    path.write_bytes(content)
    refused(path, "not a checkpoint|no tensors")


@given(positions=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4))
def test_any_damage_gives_one_line_or_tensors(tmp_path_factory, positions):
    data = bytearray(whole(tmp_path_factory))
    for position, value in positions:
        data[position % len(data)] = value
    path = tmp_path_factory.mktemp("damaged") / "x.pt"
    path.write_bytes(data)
    try:
        tensors = read_tensors(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())


@given(data=st.binary(max_size=60))
def test_any_pickle_is_read_or_refused(tmp_path_factory, data):
    path = archive(
        tmp_path_factory.mktemp("pickle") / "x", b"\x80\x02" + data + b".", **{"0": FOUR}
    )
    refused(path, "not a checkpoint|no tensors")


def test_files_of_torch_before_1_6_are_named(tmp_path):
    torch.save(PLAIN, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    refused(
        tmp_path / "x.pt", "torch 1.6 or later has saved; load this one in torch and save it again"
    )


def test_reading_imports_nothing_that_a_file_names(tmp_path):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    archive(tmp_path / "x", b"\x80\x02cevil\nthing\n.")
    code = (
        "import sys; from pathlib import Path; from pipeline.utils import safe_checkpoint\n"
        "try: safe_checkpoint.read(Path('x'))\n"
        "except Exception as error: print(type(error).__name__, 'evil' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        check=True,
        env={**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{os.getcwd()}:."},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "UserError False\n", done.stderr


def test_a_value_may_be_plain(tmp_path):
    torch.save({"epoch": 3, "names": ["a", {"b": 1.5}]}, tmp_path / "x.pt")
    assert read(tmp_path / "x.pt") == {"epoch": 3, "names": ["a", {"b": 1.5}]}
