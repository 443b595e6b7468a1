"""Released weights as models of this project: `python -m stages.imports download NAME`, then
`python -m stages.imports model NAME`."""

from dataclasses import asdict
from pathlib import Path

from model import checkpoint
from pipeline.config import params
from pipeline.data.download.official_files import OfficialFiles
from pipeline.data.download.params import DownloadParams, HttpParams
from pipeline.data.download.released_weights import NAME as WEIGHTS
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.inference.registry import row_predictors
from pipeline.released import files as released_files
from pipeline.released import imports
from pipeline.released.imports import ImportParams
from pipeline.tokenizers import text
from pipeline.tracking import client as tracking
from pipeline.utils import files, model_folder, workdir
from pipeline.utils.entry_point import entry


def main(action: str, name: str) -> None:
    """`download`: the released file and what belongs to it, into `data/SCALE/released/NAME`.
    `model`: the model in it, into `runs/SCALE/import/NAME`."""
    imported, scale = imports.load(name), params.scale()
    source = Path("data", scale, "released", name)
    if action == "download":
        workdir.clean()
        _download(name, imported, source)
    else:
        _make_model(name, imported, source, Path("runs", scale, "import", name))


def _download(name: str, imported: ImportParams, folder: Path) -> None:
    origin = params.load(DownloadParams, released_files.KEY)
    logged = OfficialFiles(WEIGHTS, origin, released_files.KEY).logged_params()
    with tracking.run(f"download {name}", stage="imports", params=logged) as run:
        if origin.origin == "synthetic":
            # Made-up weights take imports that the official ones do without.
            from pipeline.released import synthetic

            synthetic.write(imported, folder, params.load(SyntheticParams, "synthetic"))
            run.metrics(released_files.write_manifest(folder, origin.origin))
        else:
            http = params.load(HttpParams, "http")
            run.metrics(released_files.gather(imported, origin, http, folder))


def _make_model(name: str, imported: ImportParams, source: Path, out: Path) -> None:
    inputs = imported.checked_inputs(f"imports.{name}")
    facts = released_files.facts(imported, source)
    with tracking.run(
        f"import {name}", stage="imports", variant=imported.family, params=asdict(imported)
    ) as run:
        model, classes = imports.read(imported, source)
        folder = files.fresh_directory(out / "model")
        model_folder.save(model, folder)
        if imported.tokenizer:
            text.put_into(folder, source / imported.tokenizer)
        if classes and imported.task != "vqa":  # whose answers are in its configuration
            files.write_json(folder / "classes.json", list(classes))
        files.write_json(out / "params.json", {"inputs": asdict(inputs), "released": facts})
        if type(model).__name__ in row_predictors():  # not of a backbone alone
            run.model(folder, f"import/{name}")
        else:
            run.made(folder / checkpoint.WEIGHTS, f"import/{name}")


if __name__ == "__main__":
    entry(main, lambda: ("download", "model"))
