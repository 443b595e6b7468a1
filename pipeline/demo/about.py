"""What a model is, in a sentence: its scale, and the data that it was trained on."""

from pipeline.config import params
from pipeline.demo.models import Models
from pipeline.inference.export import Export

GENERATED = "generated images and texts, so it is of no use on photographs"
COLLECTED = "images and texts as their publishers collected them"
OWN = "files of your own"
MADE_UP = "weights made up to check the path of released ones, so its answers mean nothing"


def sentence(models: Models, name: str) -> str:
    """Scale, size, stages of training and data of a model."""
    config = models.load(name).model.config
    config = getattr(config, "backbone", config)
    size = f"{config.image_size} × {config.image_size} pixels, {config.depth} layers of width"
    described = models.describe(name)
    return (
        f"{name}: scale {models.scale}, images of {size} {config.embed_dim}; "
        f"{_released(described) or _trained(described)}."
    )


def _released(described: Export) -> str:
    """Of a model that was imported and not trained here."""
    if not described.released or len(described.stages) > 1:
        return ""
    file = described.released["file"]
    if described.released["origin"] == "synthetic":
        return f"in place of the released {file}, {MADE_UP}"
    return f"released weights, {file}"


def _trained(described: Export) -> str:
    """The stages of training, each with its data, and where the data come from."""
    stages, origins = [], set()
    for stage in described.stages:
        stages.append(f"{stage.name} on {', '.join(stage.sources) or 'no data'}")
        origins |= {_origin(source) for source in stage.sources}
    return f"{', then '.join(stages)} ({' and '.join(sorted(origins)) or 'untrained'})"


def _origin(source: str) -> str:
    block = params.read().block("download.common", f"download.{source}")
    if block["origin"] == "synthetic":
        return GENERATED
    return COLLECTED if block["official"] else OWN
