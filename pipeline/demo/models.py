"""The trained models of a scale: found by their class, loaded when they are first asked for."""

from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock

from model import checkpoint
from pipeline.config import params
from pipeline.errors import UserError
from pipeline.inference import export, predictor
from pipeline.inference.export import Export
from pipeline.inference.predictor import Predictor
from pipeline.pretraining import variants
from pipeline.tasks import evaluation, fine_tunes
from pipeline.utils import files

LOADED = 3  # models in memory at a time; one of base size takes a gigabyte


class Models:
    """The models in `runs/SCALE` by name, such as `finetune/vqa`; where one is not there, the one
    that was exported to `exports/SCALE`."""

    def __init__(self, scale: str):
        self.scale = scale
        self.folders = _folders(scale)
        self.device = evaluation.device_type()
        self._lock = Lock()  # callbacks run in threads
        self._loaded = lru_cache(maxsize=LOADED)(self._read)
        self.describe = cache(self._describe)

    def of_class(self, name: str) -> list[str]:
        """Names of the models of a class, as config.json has it: fine-tunes, imports and
        pretrainings in the order of their lists."""
        configs = {
            model: files.read_json(folder / checkpoint.CONFIG)
            for model, folder in self.folders.items()
        }
        return [model for model, config in configs.items() if config.get("model") == name]

    def load(self, name: str) -> Predictor:
        """A model by its name. Raises UserError where its folder is damaged."""
        with self._lock:
            return self._loaded(name)

    def _describe(self, name: str) -> Export:
        """What a run says of its model. Cached: names of classes are read from all training images.
        Raises UserError where the run or its data are not here."""
        return export.of(self.scale, name)

    def _read(self, name: str) -> Predictor:
        """With the names of its classes as far as its folder or its run knows them."""
        saved = predictor.load(self.folders[name], device=self.device)
        if saved.classes:
            return saved
        try:
            return replace(saved, classes=tuple(self.describe(name).classes))
        except UserError:
            return saved


def _folders(scale: str) -> dict[str, Path]:
    """The folder of every model that there is, by its name."""
    own = params.read()
    names = [f"finetune/{name}" for name in fine_tunes.names(own)]
    names += [f"import/{name}" for name in own.subtree("imports")]
    names += [f"pretrain/{name}" for name in variants.names(own)]
    folders: dict[str, Path] = {}
    for name in names:
        trained = Path("runs", scale, name, "model")
        exported = Path("exports", scale, name.partition("/")[2])
        for folder in (exported, trained):  # the trained one wins
            if (folder / checkpoint.CONFIG).exists():
                folders[name] = folder
    return folders
