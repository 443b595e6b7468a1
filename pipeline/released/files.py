"""The files of an import: the released one, the tokenizer that belongs to it, and what tells its
classes."""

from pathlib import Path
from typing import Any

from pipeline.data.download.official_files import OfficialFiles
from pipeline.data.download.params import DownloadParams, HttpParams
from pipeline.data.download.released_weights import NAME as WEIGHTS
from pipeline.errors import UserError
from pipeline.released.imports import CLASS_FILES, ImportParams
from pipeline.utils import files

KEY = "imported_weights"  # in params.yaml


def wanted(imported: ImportParams) -> dict[str, tuple[str, ...]]:
    """Names of the files by the list of official files that they stand in."""
    released = (imported.file, imported.tokenizer) if imported.tokenizer else (imported.file,)
    lists: dict[str, tuple[str, ...]] = {WEIGHTS: released}
    if imported.task in CLASS_FILES:
        source, names = CLASS_FILES[imported.task]
        lists[source] = names
    return lists


def gather(imported: ImportParams, origin: DownloadParams, http: HttpParams, folder: Path) -> None:
    """Link the files into the empty `folder`, from the user's folder or from the store of what came
    from publishers, which is fetched first.

    Raises:
        UserError: a file is not listed, is not the official one, or cannot be got.
    """
    for source, names in wanted(imported).items():
        official = OfficialFiles(source, origin, KEY, http)
        known = {file.name: file for file in official.publication.files}
        if unknown := [name for name in names if name not in known]:
            raise UserError(f"params.yaml: imports: no released file {unknown[0]} is known")
        if origin.origin == "local":
            _require_user_files(official, names)
        official.gather(folder, only=names)


def facts(imported: ImportParams, origin: str, folder: Path) -> dict[str, Any]:
    """What identifies the files in `folder`, of most of which no checksum is published. `released`:
    what results say of the weights; `files`: bytes and SHA-256 of every file."""
    records = {}
    for path in sorted(folder.iterdir()):
        records[path.name] = {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
    released = {
        "family": imported.family,
        "task": imported.task,
        "file": imported.file,
        "sha256": records[imported.file]["sha256"],
        "origin": origin,
    }
    return {"released": released, "files": records}


def _require_user_files(official: OfficialFiles, names: tuple[str, ...]) -> None:
    """Raises UserError where one of them is not in the user's folder, which alone is to be used."""
    here = {file.name for file in official.planned() if not file.by_hand}
    if missing := [name for name in names if name not in here]:
        raise UserError(f"params.yaml: {KEY}.path: no {missing[0]} in {official.params.path!r}")
