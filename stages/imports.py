"""Released weights as a model of this project: `python -m stages.imports NAME`."""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

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


def main(name: str) -> None:
    """Write `runs/SCALE/import/NAME`: the model, and in `params.json` its inputs and the files that
    it is made of."""
    imported = imports.load(name)
    origin = params.load(DownloadParams, released_files.KEY)
    out = Path("runs", params.scale(), "import", name)
    logged = {"files": OfficialFiles(WEIGHTS, origin, released_files.KEY).logged_params()}
    workdir.root().mkdir(exist_ok=True)
    tracked = tracking.run(
        f"import {name}",
        stage="imports",
        variant=imported.family,
        params=asdict(imported) | logged,
    )
    # Links: what was fetched, whole or in part, stays in the store of downloads.
    with tracked as run, TemporaryDirectory(prefix="import-", dir=workdir.root()) as temporary:
        source = Path(temporary)
        _gather(imported, origin, source)
        model = _make_model(imported, source, out / "model")
        facts = released_files.facts(imported, origin.origin, source)
        inputs = imported.checked_inputs(f"imports.{name}")
        files.write_json(out / "params.json", {"inputs": asdict(inputs), **facts})
        if model in row_predictors():  # not a backbone alone
            run.model(out / "model", f"import/{name}")
        else:
            run.made(out / "model" / checkpoint.WEIGHTS, f"import/{name}")


def _gather(imported: ImportParams, origin: DownloadParams, folder: Path) -> None:
    """The released file and what belongs to it."""
    if origin.origin == "synthetic":
        # Made-up weights take imports that the official ones do without.
        from pipeline.released import synthetic

        synthetic.write(imported, folder, params.load(SyntheticParams, "synthetic"))
    else:
        released_files.gather(imported, origin, params.load(HttpParams, "http"), folder)


def _make_model(imported: ImportParams, source: Path, out: Path) -> str:
    """Write the model folder; returns the class of the model."""
    model, classes = imports.read(imported, source)
    files.fresh_directory(out)
    model_folder.save(model, out)
    if imported.tokenizer:
        text.put_into(out, source / imported.tokenizer)
    if classes and imported.task != "vqa":  # whose answers are in its configuration
        files.write_json(out / "classes.json", list(classes))
    return type(model).__name__


if __name__ == "__main__":
    entry(main)
