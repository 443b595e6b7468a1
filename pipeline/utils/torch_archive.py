"""Tensors out of the zip archives of `torch.save` and of TorchScript, and nothing else out of them.

Both hold a pickle, `data.pkl`, and the bytes of tensors beside it. A pickle is a program for a
small machine, and TorchScript's archives hold more code, which `torch.jit.load` compiles and in part
runs: one can write files, or never end. Here a pickle can make tensors, lists, dicts and plain
values; objects of TorchScript's classes become bags of attributes, no other class is looked up, and
the rest of an archive is not read.

`torch.load(weights_only=True)` refuses TorchScript, and a pickle of nested tuples as a key ends the
process in it.
"""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor

LARGEST_PICKLE = 16 * 1024**2  # bytes; that of OpenAI's ViT-B/16 has 0.2 MB
LARGEST_RATIO = 20  # of all parts to the file; TorchScript compresses its code
MOST_OBJECTS = 100_000  # of a TorchScript module; ViT-B/16 has some hundreds
STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
# What training code saves its command line as, and what belongs to no tensor.
INERT = ("argparse.Namespace", "types.SimpleNamespace", "torch.device")
OPCODES = [
    "PROTO",
    "STOP",
    "MARK",
    "GLOBAL",
    "BINPERSID",
    "REDUCE",
    "BUILD",
    "NEWOBJ",
    "BINPUT",
    "LONG_BINPUT",
    "BINGET",
    "LONG_BINGET",
    "NONE",
    "NEWTRUE",
    "NEWFALSE",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINSTRING",
    "EMPTY_TUPLE",
    "TUPLE",
    "TUPLE1",
    "TUPLE2",
    "TUPLE3",
    "EMPTY_LIST",
    "APPEND",
    "APPENDS",
    "EMPTY_DICT",
    "SETITEM",
    "SETITEMS",
]


class UnsafeError(ValueError):
    """A pickle has something in it that is neither a tensor nor a plain value."""


class Bag:
    """An object of a class that is not looked up: what would be its attributes."""

    state: Any = None


class _Maker(NamedTuple):
    """A function that a pickle may call."""

    make: Callable[..., Any]


def read(path: Path) -> Any:
    """What an archive holds; of a TorchScript module its tensors by name, as in its `state_dict`.

    Raises:
        UnsafeError: it holds objects of other classes.
        Exception: of many kinds, where the file is damaged.
    """
    size = path.stat().st_size
    with ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise ValueError("no archive of torch")
        if sum(entry.file_size for entry in archive.infolist()) > LARGEST_RATIO * size:
            raise ValueError("its parts overlap, or are compressed too much")
        folder = pickles[0].partition("/")[0]
        order = f"{folder}/byteorder"
        if order in archive.namelist() and _stored(archive, order) != b"little":
            raise ValueError("saved on a machine of another byte order")
        data = _stored(archive, pickles[0], LARGEST_PICKLE)
        root = _Unpickler(data, lambda key: _stored(archive, f"{folder}/data/{key}")).load()
    return _state_of(root) if isinstance(root, Bag) else root


def _stored(archive: ZipFile, name: str, largest: int | None = None) -> bytes:
    """A part of an archive. torch compresses none of those that are read here, so that none is
    larger than the file."""
    entry = archive.getinfo(name)
    if entry.compress_type != ZIP_STORED or entry.file_size != entry.compress_size:
        raise ValueError(f"{name} is compressed")
    if largest is not None and entry.file_size > largest:
        raise ValueError(f"{name} has {entry.file_size:,} bytes, more than {largest:,}")
    return archive.read(entry)


def _state_of(root: Bag) -> dict[str, Tensor]:
    """Tensors of a module and of its parts, by name."""
    tensors: dict[str, Tensor] = {}
    pending, seen = [("", root)], 0
    while pending:
        prefix, bag = pending.pop()
        for name, value in bag.state.items() if isinstance(bag.state, dict) else ():
            seen += 1
            if seen > MOST_OBJECTS:
                raise ValueError(f"more than {MOST_OBJECTS:,} objects")
            if isinstance(value, Tensor):
                tensors[f"{prefix}{name}"] = value
            elif isinstance(value, Bag):
                pending.append((f"{prefix}{name}.", value))
    return tensors


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler, with few instructions. Its memory is a dict: that of the one in C can
    be made to take gigabytes by a single instruction."""

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, data: bytes, storage: Callable[[str], bytes]):
        super().__init__(io.BytesIO(data))
        self._read_storage = storage
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a class or function; none is imported."""
        full = f"{module}.{name}"
        if full in STORAGES:
            return STORAGES[full]
        if module.partition(".")[0] == "__torch__" or full in INERT:
            return Bag
        makers: dict[str, Callable[..., Any]] = {
            "collections.OrderedDict": dict,
            "torch.Size": tuple,
            "torch._utils._rebuild_tensor_v2": _tensor,
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "torch.jit._pickle.restore_type_tag": lambda value, _: value,
        }
        for kind in ("int", "double", "bool", "tensor"):
            makers[f"torch.jit._pickle.build_{kind}list"] = list
        if full not in makers:
            raise UnsafeError(f"it has a {full} in it, which could run code")
        return _Maker(makers[full])

    def persistent_load(self, pid: Any) -> Tensor:
        """The bytes of a tensor, as a tensor of one dimension."""
        kind, dtype, key, _, numel = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise ValueError("no storage of a tensor")
        if key not in self._storages:
            data = bytearray(self._read_storage(key))
            if len(data) != numel * dtype.itemsize:
                raise ValueError(f"{key} has {len(data):,} bytes, not {numel:,} numbers of {dtype}")
            self._storages[key] = (
                torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            )
        return self._storages[key]

    def load_reduce(self) -> None:
        """Call a function, of those that `find_class` gives."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Maker):
            raise UnsafeError("it calls what is no function, which could run code")
        self.append(function.make(*arguments))

    def load_newobj(self) -> None:
        """Make an object without attributes; its class makes no difference."""
        self.stack.pop()
        kind = self.stack.pop()
        if kind is not Bag:
            raise UnsafeError("it makes an object of no class")
        self.append(Bag())

    def load_build(self) -> None:
        """Set the attributes of an object. Those of a dict, such as a `state_dict`'s versions, are
        left out."""
        state, built = self.stack.pop(), self.stack[-1]
        if isinstance(built, Bag):
            built.state = state
        elif not isinstance(built, dict):
            raise UnsafeError(f"it sets attributes of a {type(built).__name__}")

    def load_setitem(self) -> None:
        """Set a key of a dict."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set(key, value)

    def load_setitems(self) -> None:
        """Set several keys of a dict."""
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set(key, value)

    def _set(self, key: Any, value: Any) -> None:
        """Nested tuples as a key end the process, in Python's hash of them."""
        if not isinstance(self.stack[-1], dict) or not isinstance(key, str | int | float | None):
            raise UnsafeError(f"it has a key that is a {type(key).__name__}")
        self.stack[-1][key] = value

    dispatch: ClassVar[dict[int, Any]] = {
        getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
        for name in OPCODES
    } | {
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }


def _tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    """A part of a storage, not larger than it: repeated numbers could claim any size."""
    tensor = storage.as_strided(size, stride, offset)
    if tensor.numel() > storage.numel():
        raise ValueError(f"a tensor of {tensor.numel():,} out of {storage.numel():,} numbers")
    return tensor
