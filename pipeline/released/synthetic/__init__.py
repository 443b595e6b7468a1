"""Made-up released files: the official layouts at any size, with seeded weights. They check the
path that real ones take, and are good for nothing else."""

from pathlib import Path

from pipeline.data.synthetic.params import SyntheticParams
from pipeline.released.imports import ImportParams


def write(imported: ImportParams, folder: Path, synthetic: SyntheticParams) -> None:
    """Write the files of an import into the empty `folder`."""
    from pipeline.released.synthetic import class_files, tokenizers

    if imported.tokenizer:
        tokenizers.write(folder / imported.tokenizer)
    class_files.write(imported.task, folder, synthetic)
    write_weights(imported, folder, synthetic.seed)


def write_weights(imported: ImportParams, folder: Path, seed: int) -> None:
    """Write the weights alone, of a size that goes with the tokenizer in `folder`."""
    from pipeline.released.synthetic import beit, beit3, vlmo

    writer = {"vlmo": vlmo, "beit3": beit3}.get(imported.family, beit)
    classes = imported.classes or 0
    path, backbone = folder / imported.file, imported.backbone(folder)
    writer.write(path, imported.task, backbone, classes, seed)
