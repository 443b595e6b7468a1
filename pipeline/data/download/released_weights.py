"""Released weights that a pipeline starts from: the official visual tokenizer, or the teacher of
one trained here."""

from pathlib import Path

from pipeline.data.download.official_files import OfficialFiles
from pipeline.errors import UserError
from pipeline.utils import files

NAME = "weights"  # of their list


def gather(official: OfficialFiles, folder: Path, paths: list[str]) -> dict[str, int]:
    """Leave in `folder` those of the `paths`, as params.yaml has them, that are to be in it; the
    others are the user's own. `official`: the files of the list NAME.

    Raises:
        UserError: no such weights are published, or as `OfficialFiles.gather`.
    """
    files.fresh_directory(folder)
    wanted = {Path(path).name for path in paths if Path(path).parent == folder}
    known = {file.name for file in official.planned()}
    if unknown := wanted - known:
        raise UserError(
            f"params.yaml: {official.key}: no weights {', '.join(sorted(unknown))} are published "
            f"(known: {', '.join(sorted(known))}); name a file of your own outside of {folder}"
        )
    if wanted:
        official.gather(folder, only=wanted)
    files.write_json(folder / "manifest.json", sorted(wanted))
    return {"files": len(wanted)}
