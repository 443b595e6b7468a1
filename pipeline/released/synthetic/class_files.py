"""What tells the classes of made-up models: the official files of the generated data sets."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.data.synthetic import generate
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.synthetic.writers import vqav2
from pipeline.released.imports import CLASS_FILES


def write(task: str, folder: Path, params: SyntheticParams) -> None:
    """Write those of a task into `folder`; nothing where a task has none."""
    if task == "vqa":
        vqav2.write_annotations(folder, params)
    elif task == "imagenet1k":
        with TemporaryDirectory(dir=folder) as temporary:
            generate.write("imagenet1k-test", Path(temporary), params)
            for name in CLASS_FILES[task][1]:
                Path(temporary, name).rename(folder / name)
