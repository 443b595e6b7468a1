"""The download stage: the official files of a data set from their publisher, from the user's own
folder, or synthetic ones in the same form."""

from dataclasses import asdict
from functools import partial
from pathlib import Path

from pipeline.data import datasets
from pipeline.data.download.official_files import OfficialFiles
from pipeline.data.download.params import UrlListParams, user_folder
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.errors import UserError
from pipeline.utils import files, workdir


def download(
    official: OfficialFiles, folder: Path, synthetic: SyntheticParams | None = None
) -> dict[str, int]:
    """Leave the official files of a data set in `folder` and return counts for the log.

    Of a local one only `manifest.json` (names, and sizes in bytes) is left; `params.readable` tells
    where its files are. What a list of URLs gave is in `fetched/`. `synthetic` is needed only where
    the files are generated.

    Raises:
        UserError: a file is missing, is not the official one, or has to be got by hand.
    """
    origin = official.params.origin
    _check_user_folder(official, folder)
    files.fresh_directory(folder)
    if origin == "none":
        files.write_json(folder / "manifest.json", {})
        return {"files": 0}
    if origin == "synthetic":
        assert synthetic is not None
        return _generate(official, folder, synthetic)
    reader = datasets.load(official.source)
    if origin == "upstream":
        root = folder
        official.gather(folder)
    else:
        root = official.check_user_folder()
        sizes = {}
        for path in reader.files(root):
            sizes[path.relative_to(root).as_posix()] = path.stat().st_size
        files.write_json(folder / "manifest.json", sizes)
    if isinstance(official.params, UrlListParams):
        return _fetch_resumably(official, official.params, root, folder)
    return {"files": len(reader.files(root))}


def _check_user_folder(official: OfficialFiles, folder: Path) -> None:
    """Raises UserError where the user's files stand in the folder that is about to be emptied."""
    if official.params.origin not in ("upstream", "local") or not official.params.path:
        return
    if user_folder(official.params).resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"params.yaml: {official.key}.path: {official.params.path} is the output of this "
            "stage, which is emptied before it runs; move your files to another folder"
        )


def _generate(official: OfficialFiles, folder: Path, synthetic: SyntheticParams) -> dict[str, int]:
    """Write synthetic files; a list of URLs is served on the loopback address while it is
    fetched."""
    # Drawing images takes imports that the other origins do without.
    from pipeline.data.synthetic import url_server
    from pipeline.data.synthetic.generate import url_responder, write
    from pipeline.data.url_fetch.fetcher import fetch

    source, params = official.source, official.params
    reader = datasets.load(source)
    write(source, folder, synthetic)
    if not isinstance(params, UrlListParams):
        return {"files": len(reader.files(folder))}
    with url_server.serve(url_responder(source, synthetic)) as proxy:
        return fetch(source, partial(reader.urls, folder), folder / "fetched", params.fetch, proxy)


def _fetch_resumably(
    official: OfficialFiles, params: UrlListParams, root: Path, folder: Path
) -> dict[str, int]:
    """Fetch into the work folder, where an interrupted run goes on, and link the whole into
    `folder`. `root` holds the lists of URLs."""
    from pipeline.data.url_fetch.fetcher import fetch  # not for data sets that need no aiohttp

    if not params.fetch.client.contact:
        raise UserError(
            "params.yaml: url_fetch.common.client.contact: give a mail address or a page where "
            "the owners of the sites that are asked find you"
        )
    source = official.source
    reader = datasets.load(source)
    settings = asdict(params.fetch)
    del settings["client"]  # may change on the way
    work_dir = workdir.folder(f"download/{source}", {"fetch": settings}, reader.files(root))
    with workdir.locked(work_dir):
        statuses = fetch(source, partial(reader.urls, root), work_dir / "fetched", params.fetch)
        files.link_tree(work_dir / "fetched", folder / "fetched")
        # for `workdir.clean`
        files.write_json(work_dir / "published.json", {"outs": [folder.as_posix()]})
    return statuses
