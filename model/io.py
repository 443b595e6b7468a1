"""Models on disk: a folder with `model.safetensors` and `config.json`. Nothing in it can execute code."""

import json
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

# The name in config.json, and where its class lives. Classes are imported when they are asked for.
CLASSES = {
    "Classification": "model.classification",
    "MaskedModeling": "model.objectives",
    "NLVR2": "model.nlvr2",
    "Retrieval": "model.retrieval",
    "Segmentation": "model.segmentation",
    "VQA": "model.vqa",
    "VisualTokenizer": "model.vqkd",
}


def save(model: nn.Module, folder: Path) -> None:
    """Write a model. Its `config` is a dataclass; one metadata key at most, since safetensors does not sort them."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model": type(model).__name__, **asdict(model.config)}
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load(folder: Path) -> nn.Module:
    """Build the model that a folder describes, with its weights, in evaluation mode.

    Raises:
        FileNotFoundError: the folder has no model.
        ValueError: config.json names a class that is not a model of this project.
        RuntimeError: the weights do not fit the configuration.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = config.pop("model")
    if name not in CLASSES:
        raise ValueError(f"{folder / 'config.json'}: unknown model {name!r}")
    cls = getattr(import_module(CLASSES[name]), name)
    model = cls(cls.Config.from_dict(config))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


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
            if names := getattr(self, what):
                parts.append(f"{len(names)} {what} ({', '.join(names[:4])}{', …' if len(names) > 4 else ''})")
        return "; ".join(parts)


def load_backbone(backbone: nn.Module, folder: Path) -> LoadReport:
    """Fill a backbone from the backbone of a saved model; picture positions are resized to the new grid.

    Raises:
        ValueError: a tensor of the backbone is missing or has another shape, so that part would stay untrained.
    """
    state = load_file(folder / "model.safetensors")
    prefix = "backbone."
    source = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    own: dict[str, Tensor] = backbone.state_dict()
    resized = []
    for name in [name for name in own if name in source and own[name].shape != source[name].shape]:
        before, source[name] = source[name], backbone.fitted(name, source[name])
        resized += [name] if source[name] is not before else []
    if misshaped := [n for n in own if n in source and own[n].shape != source[n].shape]:
        raise ValueError(f"{folder}: shapes differ in {', '.join(misshaped[:5])}; the sizes of the model must be equal")
    missing = [name for name in own if name not in source]
    if missing:
        raise ValueError(f"{folder}: no weights for {len(missing)} of {len(own)} tensors, such as {missing[0]}")
    backbone.load_state_dict({name: source[name] for name in own})
    unexpected = [name for name in state if not name.startswith(prefix)]
    unexpected += [name for name in source if name not in own]
    return LoadReport([name for name in own if name not in resized], resized, missing, unexpected)
