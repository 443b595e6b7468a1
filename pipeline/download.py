"""Getting a source's official files: generated, from the user's own folder, or from where they are published."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import ModuleType

from pipeline import files, sources, work
from pipeline.errors import UserError
from pipeline.fetch import fetch
from pipeline.origins import DownloadParams, UrlListParams, user_folder
from pipeline.world.params import WorldParams


def download(source: str, folder: Path, params: DownloadParams, world: WorldParams | None, key: str) -> dict[str, int]:
    """Leave the official files of a source in `folder` and return counts for the log.

    Of a local source only `manifest.json` (names and sizes) is left; `origins.readable` tells where its files are.
    What a list of URLs gave is in `fetched/`. `world` is needed for that origin only; `key` is where the params
    stand, for messages.

    Raises:
        UserError: a file is missing, or this version cannot get the source from its publisher.
    """
    module = sources.load(source)
    if params.origin == "upstream":
        raise UserError(f"params.yaml: {key}.origin: upstream is not available for {source} in this version; "
                        "use world, or local with a path")
    files.fresh_directory(folder)
    if params.origin == "world":
        return _generate(source, folder, params, world)
    root = _checked_folder(module, params, key)
    manifest = {path.relative_to(root).as_posix(): path.stat().st_size for path in module.files(root)}
    files.write_json(folder / "manifest.json", manifest)
    if isinstance(params, UrlListParams):
        return _fetch_for_days(source, root, folder, params, key)
    return {"files": len(manifest)}


def _generate(source: str, folder: Path, params: DownloadParams, world: WorldParams) -> dict[str, int]:
    """The generated world's files; a list of URLs is served on the loopback address while it is fetched."""
    from pipeline.world import server  # drawing pictures takes imports that the other origins do without
    from pipeline.world.sources import images, write

    module = sources.load(source)
    write(source, folder, world)
    if not isinstance(params, UrlListParams):
        return {"files": len(module.files(folder))}
    with server.serve(images(source, world)) as proxy:
        return fetch(source, partial(module.urls, folder), folder / "fetched", params.fetch, proxy)


def _fetch_for_days(source: str, root: Path, folder: Path, params: UrlListParams, key: str) -> dict[str, int]:
    """Fetch into the work folder, where an interrupted run goes on, and link the whole into `folder`."""
    if not params.fetch.client.contact:
        raise UserError(f"params.yaml: {key}.fetch.client.contact: give a mail address or a page where the owners of "
                        "the sites that are asked find you")
    module = sources.load(source)
    wanted = {name: value for name, value in asdict(params.fetch).items() if name != "client"}  # may change on the way
    place = work.folder(f"download/{source}", {"fetch": wanted}, module.files(root))
    with work.locked(place):
        statuses = fetch(source, partial(module.urls, root), place / "fetched", params.fetch)
        files.link_tree(place / "fetched", folder / "fetched")
        files.write_json(place / "published.json", {"outs": [folder.as_posix()]})  # for `work.clean`
    return statuses


def _checked_folder(module: ModuleType, params: DownloadParams, key: str) -> Path:
    """The user's folder, checked to hold the files."""
    if params.path is None:
        raise UserError(f"params.yaml: {key}.path: local needs the folder of the official files")
    root = user_folder(params)
    if not root.is_dir():
        raise UserError(f"params.yaml: {key}.path: no folder {root}")
    try:
        module.files(root)
    except FileNotFoundError as error:
        raise UserError(f"params.yaml: {key}.path: {error}") from None
    return root
