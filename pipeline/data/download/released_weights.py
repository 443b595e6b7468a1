"""Released weights that a pipeline starts from: the official visual tokenizer, the teacher of one
trained here, or other models with the files that their texts are read with."""

from pathlib import Path
from typing import Any

from pipeline.config.params import Params
from pipeline.data.download import checksums
from pipeline.data.download.official_files import OfficialFiles
from pipeline.errors import UserError
from pipeline.utils import files

NAME = "weights"  # of their list


def named(params: Params) -> list[str]:
    """Paths, as params.yaml has them, of the released files that the two tokenizers read. Their
    parameters are not loaded as such: that would import the visual one's network."""
    visual, texts = params.subtree("visual_tokenizer"), params.subtree("text_tokenizer")
    paths = []
    if visual["origin"] == "official":
        paths.append(visual["official_file"])
    elif visual["teacher"] != "hog":
        paths.append(visual["teacher_file"])
    if texts["origin"] == "released":
        paths.append(texts["file"])
    return [path for path in paths if path is not None]


def gather(official: OfficialFiles, folder: Path, paths: list[str]) -> dict[str, int]:
    """Leave in `folder` those of the `paths`, as params.yaml has them, that are to be in it; the
    others are the user's own. `official`: the files of the list NAME. Of most no checksum is
    published: `manifest.json` records what came.

    Raises:
        UserError: no such weights are published, or as `OfficialFiles.gather`.
    """
    files.fresh_directory(folder)
    wanted = {Path(path).name for path in paths if Path(path).parent == folder}
    if wanted and official.params.origin not in ("upstream", "local"):
        raise UserError(
            f"params.yaml: {official.key}.origin: {official.params.origin}, but nobody makes up "
            f"{min(wanted)}; set it to upstream or local, or name a file of your own outside of {folder}"
        )
    known = {file.name for file in official.publication.files}
    if unknown := wanted - known:
        raise UserError(
            f"params.yaml: {official.key}: no weights {', '.join(sorted(unknown))} are published "
            f"(known: those of pipeline/data/datasets/{NAME}.yaml); name a file of your own outside of "
            f"{folder}"
        )
    if wanted:
        official.gather(folder, only=wanted)
    received = [_record(folder / name) for name in sorted(wanted)]
    files.write_json(folder / "manifest.json", received)
    return {"files": len(wanted)}


def _record(path: Path) -> dict[str, Any]:
    """What identifies a file, in bytes and hexadecimal."""
    digest = checksums.digest(path, "sha256")
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}
