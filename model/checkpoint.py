"""Models on disk: a folder with `model.safetensors` and `config.json`. Nothing in it can execute
code."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from errno import ENOENT
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, Self

from safetensors.torch import save_file
from torch import Tensor, nn

from model import config_types, hub, weights_file
from model.backbone.config import BackboneConfig
from model.hub import Folder
from model.meta import on_meta, undrawn

WEIGHTS, CONFIG = "model.safetensors", "config.json"
# What JSON of any kind, and sizes without sense, end in; RecursionError is a RuntimeError.
MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
LARGEST_CONFIG = 64 * 1024**2  # bytes; that of VQAv2's 3,129 answers has 70 KB

# Classes that belong to no downstream task, by their name in config.json, and the modules that
# define them in this package: imported when they are asked for. Those of downstream tasks register
# themselves.
MODULES = {
    "ImageEncoder": ".timm_encoder",
    "MaskedModeling": ".pretraining.masked_modeling",
    "VLBeit": ".backbone.vl_beit",
    "VisualTokenizer": ".tokenizer.vqkd",
}
HEADS = Path(__file__).with_name("heads")  # where the classes of downstream tasks are searched

# Keys of config.json in folders of earlier versions, and what they are called now.
RENAMED_KEYS = {
    "width": "embed_dim",
    "heads": "num_heads",
    "ffn_width": "mlp_dim",
    "init_sigma": "init_std",
    "codes": "codebook_size",
    "code_dim": "codebook_dim",
    "decay": "ema_decay",
    "delay": "codebook_start_step",
}

# What config.json has for timm beside (`model.timm_encoder.timm_config`).
TIMM_KEYS = ("architecture", "model_args", "pretrained_cfg")


def save(model: "Pretrained", folder: Path) -> None:
    """Write a model. Its `config` is a dataclass.

    Raises:
        ValueError: a number of its weights is NaN or infinite; nothing is written. One line.
    """
    state = {}
    for name, tensor in model.state_dict().items():
        state[name] = tensor.detach().cpu().contiguous()
    weights_file.check_finite(folder / WEIGHTS, state)
    folder.mkdir(parents=True, exist_ok=True)
    # One metadata key at most: safetensors does not sort them.
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    config = {"model": type(model).__name__, **asdict(model.config)}
    (folder / CONFIG).write_text(
        json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )


def load(folder: Folder) -> "Pretrained":
    """Build the model that a folder describes, or the hub's model `owner/model`, with its weights,
    in evaluation mode.

    Nothing is allocated for a model that the file of weights does not have.

    Raises:
        FileNotFoundError: the folder has no model; `filename` says what is missing.
        ValueError: config.json is not one of a model of this project, the weights do not fit it, or
            a number in them is NaN or infinite. One line.
    """
    folder = hub.local(folder)
    path, weights = folder / CONFIG, folder / WEIGHTS
    cls, config = read_config(path)
    headers = weights_file.read_header(weights)
    try:
        expected = on_meta(lambda: cls(config)).state_dict()
    except MALFORMED as error:  # sizes without sense
        raise ValueError(_not_ours(path, error)) from None
    weights_file.check_fits(weights, headers, expected)
    model = undrawn(lambda: cls(config))
    model.load_state_dict(weights_file.read(weights))
    weights_file.check_finite(weights, model.state_dict())
    return model.eval()


def read_config(path: Path) -> tuple[Any, Any]:
    """The class of the model that a config.json describes, and its configuration.

    Raises:
        FileNotFoundError: there is no such file, or it is a folder or a device.
        ValueError: it is not one of a model of this project. One line.
    """
    try:
        tree = _read_json(path)
        cls = model_class(tree.pop("model"))
        for key in TIMM_KEYS:
            tree.pop(key, None)
        tree = with_current_keys(tree, cls.Config)
        config_types.check(tree, cls.Config)
        return cls, cls.Config.from_dict(tree)
    except MALFORMED as error:
        raise ValueError(_not_ours(path, error)) from None


def read_backbone_config(path: Path) -> BackboneConfig:
    """The backbone in a config.json, of whatever class its model is. Raises as `read_config`; there
    may be no backbone."""
    try:
        tree = with_current_keys(_read_json(path)["backbone"], BackboneConfig)
        config_types.check(tree, BackboneConfig, "backbone")
        return BackboneConfig(**tree)
    except MALFORMED as error:
        raise ValueError(_not_ours(path, error)) from None


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(ENOENT, "no configuration", str(path))
    if path.stat().st_size > LARGEST_CONFIG:
        raise ValueError(f"larger than {LARGEST_CONFIG:,} bytes")
    return json.loads(path.read_text(encoding="utf-8"))


def _not_ours(path: Path, error: Exception) -> str:
    return f"{path}: not a model of this project: {weights_file.one_line(error)}"


def with_current_keys(tree: dict[str, Any], config: type) -> dict[str, Any]:
    """What a config.json, or a part of it, says by the present names of `config`, the dataclass
    that it describes, and of its backbone. A key that `config` has is no earlier name."""
    names = {field.name for field in fields(config)}
    renamed = {key if key in names else RENAMED_KEYS.get(key, key): tree[key] for key in tree}
    if isinstance(renamed.get("backbone"), dict):
        renamed["backbone"] = with_current_keys(renamed["backbone"], BackboneConfig)
    return renamed


def model_class(name: str) -> Any:
    """The class of a model by its name in config.json: one of `MODULES`, of `model.heads`, or of a
    task whose modules have been imported.

    The name is looked up among classes that have registered themselves and decides nothing else:
    what is imported does not depend on what a file says.

    Raises:
        ValueError: there is no such class.
    """
    if name in MODULES:
        import_module(MODULES[name], __package__)
    elif name not in Pretrained.registered:
        for module in iter_modules([str(HEADS)], f"{__package__}.heads."):
            import_module(module.name)
    if name not in Pretrained.registered:
        raise ValueError(f"unknown model {name!r}")
    return Pretrained.registered[name]


class Pretrained(nn.Module):
    """The methods by which every model comes from a folder and goes into one. Classes that derive
    from it are known to `load` by their name."""

    registered: ClassVar[dict[str, type]] = {}
    Config: ClassVar[Any]  # a dataclass with a method `from_dict`, the inverse of `asdict`
    config: Any  # an instance of it

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        Pretrained.registered[cls.__name__] = cls

    @classmethod
    def from_pretrained(cls, folder: Folder) -> Self:
        """The model in a folder, or the hub's model `owner/model`, in evaluation mode; a backbone
        comes out of the folder of any task, too.

        Raises:
            FileNotFoundError, ValueError: as `load`; or the folder holds a model of another class.
            One line.
        """
        model = load(folder)
        for candidate in (model, getattr(model, "backbone", None)):
            if isinstance(candidate, cls):
                return candidate
        raise ValueError(
            f"{folder}: holds a {type(model).__name__}, not a {cls.__name__}; use its own class"
        )

    def save_pretrained(self, folder: Folder) -> None:
        """Write `model.safetensors` and `config.json` into a folder, which is made where there is
        none."""
        save(self, Path(folder))

    def fitted(self, name: str, tensor: Tensor) -> Tensor:
        """What a tensor of the same name, out of a model of this class and of another size, becomes
        in this one: where sizes may not differ, the tensor as it is."""
        return tensor


@dataclass(frozen=True)
class LoadReport:
    """What became of each tensor when a backbone took over weights."""

    matched: list[str]
    resized: list[str]
    missing: list[str]
    unexpected: list[str]

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} tensors matched"]
        for what in ("resized", "missing", "unexpected"):
            names = getattr(self, what)
            if names:
                examples = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
                parts.append(f"{len(names)} {what} ({examples})")
        return "; ".join(parts)


def load_backbone(
    backbone: Pretrained, folder: Path, *, fresh: Collection[str] | None = None
) -> LoadReport:
    """Fill a backbone from the backbone of a saved model; positions of patches are resized to the
    new grid.

    Args:
        fresh: names of tensors that stay as they are where the saved one lacks them; it may then
            have none that this one lacks either. None: it has all, and may have others.

    Raises:
        FileNotFoundError: the folder has no weights.
        ValueError: a tensor is missing or has another shape, so that part would stay untrained; or
            a number is NaN or infinite. One line.
    """
    path = folder / WEIGHTS
    tensors = weights_file.read(path)
    # A backbone may be saved by itself.
    prefix = "backbone." if any(name.startswith("backbone.") for name in tensors) else ""
    source, unexpected = {}, []
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            source[name.removeprefix(prefix)] = tensor
        else:
            unexpected.append(name)
    weights_file.check_finite(path, source)
    target: dict[str, Tensor] = backbone.state_dict()
    unexpected += [name for name in source if name not in target]
    missing = [name for name in target if name not in source]
    resized = _fit(source, backbone, folder)
    untrained = [name for name in missing if name not in (fresh or ())]
    if untrained:
        raise ValueError(
            f"{folder}: no weights for {len(untrained)} of {len(target)} tensors, such as "
            f"{untrained[0]}"
        )
    homeless = [name for name in source if name not in target]
    if fresh is not None and homeless:
        raise ValueError(
            f"{folder}: {len(homeless)} tensors that this model has no place for, such as "
            f"{homeless[0]}"
        )
    found = [name for name in target if name in source]
    backbone.load_state_dict(target | {name: source[name] for name in found})
    matched = [name for name in found if name not in resized]
    return LoadReport(matched, resized, missing, unexpected)


def _fit(source: dict[str, Tensor], backbone: Pretrained, folder: Path) -> list[str]:
    """Resize the tensors of `source` that may have another size; returns their names.

    Raises:
        ValueError: others have another shape than the backbone's.
    """
    resized, misshaped = [], []
    for name, tensor in backbone.state_dict().items():
        if name not in source or source[name].shape == tensor.shape:
            continue
        fitted = _fitted(backbone, name, source[name])
        if fitted is not source[name]:
            source[name] = fitted
            resized.append(name)
        if fitted.shape != tensor.shape:
            misshaped.append(name)
    if misshaped:
        raise ValueError(
            f"{folder}: shapes differ in {', '.join(misshaped[:5])}; "
            "the sizes of the model must be equal"
        )
    return resized


def _fitted(backbone: Pretrained, name: str, tensor: Tensor) -> Tensor:
    """As `Pretrained.fitted`; a tensor of which that makes nothing comes back as it is."""
    try:
        return backbone.fitted(name, tensor)
    except (ArithmeticError, IndexError, RuntimeError, ValueError):  # no table of positions
        return tensor
