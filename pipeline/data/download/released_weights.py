"""Released weights that a pipeline starts from: the official visual tokenizer, or the teacher of
one trained here."""

from pathlib import Path

from pipeline.data.download import raw_files
from pipeline.data.download.http_client import HttpParams
from pipeline.data.download.params import DownloadParams
from pipeline.errors import UserError
from pipeline.utils import files

NAME = "weights"  # of their list


def gather(
    folder: Path, named: list[str], params: DownloadParams, key: str, web: HttpParams
) -> dict[str, int]:
    """Leave in `folder` those of the `named` files, as params.yaml has them, that are to be in it.

    Files elsewhere are the user's own. `key` is where the params stand, for messages.

    Raises:
        UserError: no such weights are published, or as `download.gather`.
    """
    files.fresh_directory(folder)
    wanted = {Path(name).name for name in named if Path(name).parent == folder}
    known = {file.name for file in raw_files.planned(NAME, params)}
    if unknown := wanted - known:
        raise UserError(
            f"params.yaml: {key}: no weights {', '.join(sorted(unknown))} are published "
            f"(known: {', '.join(sorted(known))}); name a file of your own outside of {folder}"
        )
    if wanted:
        raw_files.gather(NAME, folder, params, key, web, only=wanted)
    files.write_json(folder / "manifest.json", sorted(wanted))
    return {"files": len(wanted)}
