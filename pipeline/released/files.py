"""The files of an import: the released one, the tokenizer that belongs to it, and what tells its
classes."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.data.download import checksums
from pipeline.data.download.official_files import OfficialFiles
from pipeline.data.download.params import DownloadParams, HttpParams
from pipeline.data.download.released_weights import NAME as WEIGHTS
from pipeline.errors import UserError
from pipeline.released.imports import CLASS_FILES, ImportParams
from pipeline.utils import files

KEY = "imported_weights"  # in params.yaml
MANIFEST = "manifest.json"


def wanted(imported: ImportParams) -> dict[str, tuple[str, ...]]:
    """Names of the files by the list of official files that they stand in."""
    released = (imported.file, imported.tokenizer) if imported.tokenizer else (imported.file,)
    lists: dict[str, tuple[str, ...]] = {WEIGHTS: released}
    if imported.task in CLASS_FILES:
        source, names = CLASS_FILES[imported.task]
        lists[source] = names
    return lists


def gather(
    imported: ImportParams, origin: DownloadParams, http: HttpParams, folder: Path
) -> dict[str, int]:
    """Leave the files in `folder`, from the user's folder or their publishers, with a manifest of
    what came: of most weights no checksum is published. Returns counts for the log.

    Raises:
        UserError: a file is not listed, is not the official one, or cannot be got.
    """
    files.fresh_directory(folder)
    for source, names in wanted(imported).items():
        official = OfficialFiles(source, origin, KEY, http)
        known = {file.name: file for file in official.publication.files}
        if unknown := [name for name in names if name not in known]:
            raise UserError(f"params.yaml: imports: no released file {unknown[0]} is known")
        if origin.origin == "local":
            _require_user_files(official, names)
        official.gather(folder, only=names)
    return write_manifest(folder, origin.origin)


def write_manifest(folder: Path, origin: str) -> dict[str, int]:
    """What identifies the files in `folder`, in bytes and hexadecimal, and where they are from."""
    records = {}
    for path in sorted(folder.iterdir()):
        digest = checksums.digest(path, "sha256")
        records[path.name] = {"bytes": path.stat().st_size, "sha256": digest}
    files.write_json(folder / MANIFEST, {"origin": origin, "files": records})
    return {"files": len(records)}


def facts(imported: ImportParams, folder: Path) -> dict[str, Any]:
    """What results say of the weights: family, task, file, and where it came from."""
    manifest = files.read_json(folder / MANIFEST)
    known = asdict(imported)
    facts = {key: known[key] for key in ("family", "task", "file")}
    sha256 = manifest["files"][imported.file]["sha256"]
    return facts | {"sha256": sha256, "origin": manifest["origin"]}


def _require_user_files(official: OfficialFiles, names: tuple[str, ...]) -> None:
    """Raises UserError where one of them is not in the user's folder, which alone is to be used."""
    here = {file.name for file in official.planned() if not file.by_hand}
    if missing := [name for name in names if name not in here]:
        raise UserError(f"params.yaml: {KEY}.path: no {missing[0]} in {official.params.path!r}")
