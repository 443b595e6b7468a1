"""Models on disk: a folder with `model.safetensors` and `config.json`. Nothing in it can execute
code."""

import json
from dataclasses import asdict, dataclass, fields
from errno import ENOENT
from importlib import import_module
from os import PathLike
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.backbone.config import BackboneConfig

# Classes that belong to no downstream task, by their name in config.json, and the modules that
# define them: imported when they are asked for. Those of downstream tasks register themselves.
MODULES = {
    "ImageEncoder": "model.timm_encoder",
    "MaskedModeling": "model.pretraining.masked_modeling",
    "VLBeit": "model.backbone.vl_beit",
    "VisualTokenizer": "model.tokenizer.vqkd",
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

Folder = str | PathLike[str]


def save(model: "Pretrained", folder: Path) -> None:
    """Write a model. Its `config` is a dataclass."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {}
    for name, tensor in model.state_dict().items():
        state[name] = tensor.detach().cpu().contiguous()
    # One metadata key at most: safetensors does not sort them.
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model": type(model).__name__, **asdict(model.config)}
    (folder / "config.json").write_text(
        json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )


def load(folder: Folder) -> "Pretrained":
    """Build the model that a folder describes, with its weights, in evaluation mode.

    Raises:
        FileNotFoundError: the folder has no model; `filename` says what is missing.
        ValueError: config.json is not one of a model of this project, or the weights do not fit it.
            One line.
    """
    model = _from_config(Path(folder, "config.json"))
    weights = Path(folder, "model.safetensors")
    if not weights.is_file():
        raise FileNotFoundError(ENOENT, "no weights", str(weights))
    try:
        model.load_state_dict(load_file(weights))
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"{weights}: not the weights of config.json's model: {_one_line(error)}"
        ) from None
    return model.eval()


def _from_config(path: Path) -> "Pretrained":
    """The model that a config.json describes, with initial weights."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        cls = model_class(config.pop("model"))
        return cls(cls.Config.from_dict(with_current_keys(config, cls.Config)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a model of this project: {_one_line(error)}") from None


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
        import_module(MODULES[name])
    elif name not in Pretrained.registered:
        for module in iter_modules([str(HEADS)], "model.heads."):
            import_module(module.name)
    if name not in Pretrained.registered:
        raise ValueError(f"unknown model {name!r}")
    return Pretrained.registered[name]


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


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
        """The model in a folder, in evaluation mode; a backbone comes out of the folder of any
        task, too.

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


def load_backbone(backbone: Pretrained, folder: Path) -> LoadReport:
    """Fill a backbone from the backbone of a saved model; positions of patches are resized to the
    new grid.

    Raises:
        ValueError: a tensor of the backbone is missing or has another shape, so that part would
            stay untrained.
    """
    prefix = "backbone."
    source, unexpected = {}, []
    for name, tensor in load_file(folder / "model.safetensors").items():
        if name.startswith(prefix):
            source[name.removeprefix(prefix)] = tensor
        else:
            unexpected.append(name)
    target: dict[str, Tensor] = backbone.state_dict()
    unexpected += [name for name in source if name not in target]
    missing = [name for name in target if name not in source]
    resized = _fit(source, backbone, folder)
    if missing:
        raise ValueError(
            f"{folder}: no weights for {len(missing)} of {len(target)} tensors, such as "
            f"{missing[0]}"
        )
    backbone.load_state_dict({name: source[name] for name in target})
    matched = [name for name in target if name not in resized]
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
        fitted = backbone.fitted(name, source[name])
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
