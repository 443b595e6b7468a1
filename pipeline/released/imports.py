"""The released files that a scale imports, as params.yaml lists them, and the model in each."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from model.backbone.config import BackboneConfig
from model.checkpoint import Pretrained
from pipeline import tasks
from pipeline.config import params
from pipeline.config.limits import FileName, Layers, Name, Pixels, TextLength, Width
from pipeline.config.params import Params, convert
from pipeline.data.datasets import imagenet1k
from pipeline.errors import UserError
from pipeline.released import state_dict
from pipeline.released.state_dict import ReleasedFile
from pipeline.tasks.vqa import released_answers
from pipeline.tokenizers.text import TextTokenizer
from pipeline.tokenizers.text.beit3_pieces import Beit3Pieces
from pipeline.tokenizers.text.wordpiece import WordPiece

Family = Literal["vlmo", "beit3", "beit", "beitv2"]
MODULES: dict[Family, str] = {"beitv2": "beit"}  # of families that share one
TOKENIZERS: dict[Family, str] = {"vlmo": WordPiece.FILE, "beit3": Beit3Pieces.FILE}
# The tasks that a released file may be for, each with the one of this project; those that are not
# here are pretrained models, from which one can only start.
TASKS = {
    "vqa": "vqa",
    "nlvr2": "nlvr2",
    "itc": "retrieval",
    "coco": "retrieval",
    "flickr30k": "retrieval",
    "imagenet1k": "classification",
    "ade20k": "segmentation",
}
# Official files that say which class is which, by task: the data set, and their names.
CLASS_FILES = {
    "vqa": ("vqav2", ("v2_Annotations_Train_mscoco.zip", "v2_Annotations_Val_mscoco.zip")),
    "imagenet1k": ("imagenet1k", ("ILSVRC2012_devkit_t12.tar.gz",)),
}


@dataclass(frozen=True)
class ImportedSize:
    """Block `imported_size`: what all released models of a scale have in common."""

    patch_size: Pixels  # pixels
    depth: Layers
    embed_dim: Width
    num_heads: Width
    mlp_dim: Width


@dataclass(frozen=True)
class PretrainedInputs:
    """What is known of the inputs of a model that only others start from."""

    image_size: Pixels  # pixels
    text_length: TextLength | None = None  # ids; of models that read texts


@dataclass(frozen=True)
class ImportParams:
    """An entry of `imports`."""

    family: Family
    task: Name  # what the file is for, as the family's module calls it
    file: FileName
    inputs: dict[str, Any]  # the EvaluationInputs of our task
    classes: Width | None = None  # of the file's classifier
    size: ImportedSize = field(kw_only=True)

    @property
    def module(self) -> Any:
        """The family's module."""
        return import_module(f"pipeline.released.{MODULES.get(self.family, self.family)}")

    @property
    def tokenizer(self) -> str | None:
        """The file that the model's texts are read with; None where it reads none."""
        return None if self.task == "imagenet1k" else TOKENIZERS.get(self.family)

    @property
    def our_task(self) -> str | None:
        """The folder in `pipeline/tasks`; None for a pretrained model."""
        return TASKS.get(self.task)

    def checked_inputs(self, key: str) -> Any:
        """The inputs as our task's evaluation reads them. Raises UserError where they are none."""
        task = self.our_task
        cls = tasks.load(task, "training.data").EvaluationInputs if task else PretrainedInputs
        return convert(cls, self.inputs, f"{key}.inputs")

    def planned(self) -> tuple[Any, Any]:
        """The class of the model and its configuration, as they will be; no file is read."""
        return self.module.model_config(self.task, self.backbone(), self.numbers)

    @property
    def numbers(self) -> list[str]:
        """In place of the names of its classes."""
        return [str(number) for number in range(self.classes or 0)]

    def backbone(self, folder: Path | None = None) -> BackboneConfig:
        """The backbone of the file's model, whose vocabulary is the tokenizer's in `folder`, or of
        the size that the real one has."""
        base = replace(self.module.BASE, **asdict(self.size))
        if self.tokenizer and folder:
            vocab_size = TextTokenizer.load(folder / self.tokenizer).vocab_size
            base = replace(base, vocab_size=vocab_size)
        config = self.module.backbone_config(self.task, base)
        return replace(config, image_size=self.inputs["image_size"])


def load(name: str, own: Params | None = None) -> ImportParams:
    """An entry of `imports`, by default of params.yaml.

    Raises:
        UserError: there is none of this name, or something in it is wrong.
    """
    own = own or params.read()
    if name not in (known := own.subtree("imports")):
        listed = ", ".join(known) or "none at this scale"
        raise UserError(f"{own.file}: imports: no {name!r} (known: {listed})")
    loaded = own.load(ImportParams, f"imports.{name}", size=("imported_size",))
    tasks_of_family = loaded.module.Task.__args__
    if loaded.task not in tasks_of_family:
        raise UserError(
            f"{own.file}: imports.{name}.task: {loaded.task!r}; files of {loaded.family} are for "
            f"{', '.join(tasks_of_family)}"
        )
    loaded.checked_inputs(f"imports.{name}")
    return loaded


def read(imported: ImportParams, folder: Path) -> tuple[Pretrained, Sequence[str]]:
    """The model in the released file in `folder`, which also has the files that belong to it, and
    the names of its classes, none where it has no classes or nobody knows their names.

    Raises:
        UserError: one of the files is missing or not what it should be.
    """
    backbone, family = imported.backbone(folder), imported.family
    file = state_dict.read(folder / imported.file)
    classes = _class_names(imported, folder, file)
    of_family = {"family": family} if family in ("beit", "beitv2") else {}
    model = imported.module.read(
        file, imported.task, backbone, classes or imported.numbers, **of_family
    )
    return model, classes


def _class_names(imported: ImportParams, folder: Path, file: ReleasedFile) -> Sequence[str]:
    if imported.task == "vqa":
        return released_answers.read(folder, imported.classes or released_answers.NUM_ANSWERS)
    if imported.task == "imagenet1k":
        found: Sequence[str] = imagenet1k.class_names(folder)
    elif imported.task == "ade20k":
        found = imported.module.class_names(file)
    else:
        return ()
    if found and len(found) != imported.classes:
        raise UserError(
            f"{folder}: names of {len(found):,} classes, but params.yaml says {imported.classes}"
        )
    return found
