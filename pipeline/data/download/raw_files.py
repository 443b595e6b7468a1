"""Getting a source's official files: generated, from where they are published, or from the user's
own folder."""

import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urljoin

from pipeline.data import datasets
from pipeline.data.download import checksums, http_client, manifest
from pipeline.data.download.http_client import HttpParams
from pipeline.data.download.manifest import Checksum, OfficialFile, Publication
from pipeline.data.download.params import DownloadParams, DumpParams, UrlListParams, user_folder
from pipeline.data.synthetic.params import WorldParams
from pipeline.data.url_fetch.fetch import fetch
from pipeline.errors import UserError
from pipeline.utils import files, workdir
from pipeline.utils.progress import size


@dataclass(frozen=True)
class PlannedFile:
    """What a source needs, as far as it can be told without asking anybody.

    bytes: in all, 0 where nobody knows; exact: whether that is official or an estimate; checked:
    whether a checksum is known; here: bytes that need not be fetched; addresses: in the order in
    which they are tried; by_hand: what the user has to do, else empty.
    """

    name: str
    bytes: int
    exact: bool
    checked: bool
    here: int
    addresses: tuple[str, ...]
    by_hand: str


def download(
    source: str,
    folder: Path,
    params: DownloadParams,
    world: WorldParams | None,
    key: str,
    web: HttpParams | None,
) -> dict[str, int]:
    """Leave the official files of a source in `folder` and return counts for the log.

    Of a local source only `manifest.json` (names and sizes) is left; `origins.readable` tells where
    its files are. What a list of URLs gave is in `fetched/`. `world` and `web` are each needed for
    one origin only; `key` is where the params stand, for messages.

    Raises:
        UserError: a file is missing, is not the official one, or has to be got by hand.
    """
    module = datasets.load(source)
    files.fresh_directory(folder)
    if params.origin == "none":
        files.write_json(folder / "manifest.json", {})
        return {"files": 0}
    if params.origin == "world":
        return _generate(source, folder, params, world)
    if params.origin == "upstream":
        root = folder
        gather(source, folder, params, key, web)
    else:
        root = _checked_folder(source, params, key)
        listing = {
            path.relative_to(root).as_posix(): path.stat().st_size for path in module.files(root)
        }
        files.write_json(folder / "manifest.json", listing)
    if isinstance(params, UrlListParams):
        return _fetch_for_days(source, root, folder, params, key)
    return {"files": len(module.files(root))}


def gather(
    source: str,
    folder: Path,
    params: DownloadParams,
    key: str,
    web: HttpParams,
    only: Collection[str] | None = None,
) -> None:
    """Link the official files of a source, or of `weights`, into `folder`: those of the user's
    folder, checked, and the others from their publisher. `only`: names of those that are wanted.

    Raises:
        UserError: as `download`.
    """
    publication = _publication(source, params)
    if publication.parallel is not None:
        web = replace(web, files=min(web.files, publication.parallel))
    wanted = [
        file
        for file in _wanted(source, publication, params, key, web)
        if only is None or file.name in only
    ]
    theirs = {file.name: path for file in wanted if (path := _theirs(file, params))}
    wanted = [file for file in wanted if file.name in theirs or not file.optional]
    for file in wanted:
        if file.name in theirs:
            _check(theirs[file.name], file, params, key)
    fetched = [file for file in wanted if file.addresses and file.name not in theirs]
    http_client.get(fetched, store(), web, source)
    paths = theirs | {file.name: http_client.place(store(), file) for file in fetched}
    for file in wanted:
        if file.name in paths:
            _report(source, file, paths[file.name])
            files.link(paths[file.name], folder / file.name)
    if lacking := [file for file in wanted if file.name not in paths]:
        _take_other_forms(source, folder, publication, params, lacking, key)


def planned(source: str, params: DownloadParams) -> list[PlannedFile]:
    """The official files of a source, or of `weights`, if it has any; nothing is downloaded.

    The pictures behind a list of URLs, and parts of a dump whose list is not here yet, are one
    entry together.
    """
    if params.origin in ("world", "none"):
        return []
    publication = _publication(source, params)
    known, complete = _known(source, publication, params)
    plan = [
        _planned(file, publication, params)
        for file in known
        if not file.optional or _theirs(file, params)
    ]
    for name, size_about in (
        ("the parts of the dump", None if complete else publication.listed_bytes),
        ("the images behind the URLs", publication.url_image_bytes),
    ):
        if size_about is not None:
            plan.append(PlannedFile(name, size_about, False, False, 0, (), ""))
    return plan


def store() -> Path:
    """Where files from publishers are kept: also when their source is downloaded again, at no cost
    beside its output, to which they are hard-linked."""
    return workdir.root() / "downloads"


def _generate(
    source: str, folder: Path, params: DownloadParams, world: WorldParams
) -> dict[str, int]:
    """The generated world's files; a list of URLs is served on the loopback address while it is
    fetched."""
    from pipeline.data.synthetic import (
        url_server,  # drawing pictures takes imports that the other origins do without
    )
    from pipeline.data.synthetic.generate import images, write

    module = datasets.load(source)
    write(source, folder, world)
    if not isinstance(params, UrlListParams):
        return {"files": len(module.files(folder))}
    with url_server.serve(images(source, world)) as proxy:
        return fetch(source, partial(module.urls, folder), folder / "fetched", params.fetch, proxy)


def _fetch_for_days(
    source: str, root: Path, folder: Path, params: UrlListParams, key: str
) -> dict[str, int]:
    """Fetch into the work folder, where an interrupted run goes on, and link the whole into
    `folder`."""
    if not params.fetch.client.contact:
        raise UserError(
            f"params.yaml: {key}.fetch.client.contact: give a mail address or a page where the owners of "
            "the sites that are asked find you"
        )
    module = datasets.load(source)
    wanted = {
        name: value for name, value in asdict(params.fetch).items() if name != "client"
    }  # may change on the way
    place = workdir.folder(f"download/{source}", {"fetch": wanted}, module.files(root))
    with workdir.locked(place):
        statuses = fetch(source, partial(module.urls, root), place / "fetched", params.fetch)
        files.link_tree(place / "fetched", folder / "fetched")
        files.write_json(
            place / "published.json", {"outs": [folder.as_posix()]}
        )  # for `work.clean`
    return statuses


def _checked_folder(source: str, params: DownloadParams, key: str) -> Path:
    """The user's folder, checked to hold the files."""
    if params.path is None:
        raise UserError(f"params.yaml: {key}.path: local needs the folder of the official files")
    root = user_folder(params)
    if not root.is_dir():
        raise UserError(f"params.yaml: {key}.path: no folder {root}")
    try:
        datasets.load(source).files(root)
    except FileNotFoundError as error:
        raise UserError(f"params.yaml: {key}.path: {error}") from None
    known, _ = _known(source, _publication(source, params), params)
    for file in known:
        if path := _theirs(file, params):
            _check(path, file, params, key)
    return root


def _check(path: Path, file: OfficialFile, params: DownloadParams, key: str) -> None:
    """A file of the user's, unless it is meant to be another one."""
    if params.official and (wrong := checksums.fault(path, file)):
        raise UserError(
            f"params.yaml: {key}.path: {path}: {wrong}; get it again, or set {key}.official: false if it "
            "is meant to differ"
        )


def _report(source: str, file: OfficialFile, path: Path) -> None:
    """A size that is only said to be about so much is no reason to stop."""
    found = path.stat().st_size
    if file.about and abs(found - file.about) > file.about / 2:
        print(
            f"{source}: {file.name} has {size(found)}; about {size(file.about)} was expected",
            file=sys.stderr,
        )


def _take_other_forms(
    source: str,
    folder: Path,
    publication: Publication,
    params: DownloadParams,
    lacking: Sequence[OfficialFile],
    key: str,
) -> None:
    """Link what the user has in place of files that must be got by hand. Raises UserError where
    that does not do."""
    for path in _other_forms(publication, params):
        if not (folder / path.name).exists():
            (files.link_tree if path.is_dir() else files.link)(path, folder / path.name)
    try:
        datasets.load(source).files(folder)
    except FileNotFoundError:
        names = ", ".join(
            f"{file.name} ({size(file.expected)})" if file.expected else file.name
            for file in lacking
        )
        forms = f" (or as {', '.join(publication.instead)})" if publication.instead else ""
        place = (
            user_folder(params)
            if params.path
            else f"a folder, name this as params.yaml: {key}.path,"
        )
        these = "it under this name" if len(lacking) == 1 else "them under these names"
        raise UserError(
            f"{source}: to be got by hand: {names}: {publication.by_hand}; put {these}{forms} into {place} "
            "and run this again"
        ) from None


def _publication(source: str, params: DownloadParams) -> Publication:
    fields = {"dump": params.dump} if isinstance(params, DumpParams) else {}
    return manifest.read(source, params.mirrors, **fields)


def _wanted(
    source: str, publication: Publication, params: DownloadParams, key: str, web: HttpParams
) -> Sequence[OfficialFile]:
    """The files, among them those that only a list names, which is fetched first."""
    if publication.listed_bytes is None:
        return publication.files
    listing = publication.files[0]
    if not _theirs(listing, params):
        try:
            http_client.get([listing], store(), web, source)
        except UserError as error:
            raise UserError(
                f"{error}; params.yaml: {key}.dump must be the date of a dump that is there"
            ) from None
    return _known(source, publication, params)[0]


def _known(
    source: str, publication: Publication, params: DownloadParams
) -> tuple[Sequence[OfficialFile], bool]:
    """The files, and whether these are all: a list of others may be here or not."""
    if publication.listed_bytes is None:
        return publication.files, True
    listing = publication.files[0]
    path = _theirs(listing, params) or http_client.place(store(), listing)
    if not path.exists():
        return ([] if params.origin == "local" else publication.files), False
    try:
        facts = datasets.load(source).listed(files.read_json(path))
    except (ValueError, UserError) as error:
        http_client.place(store(), listing).unlink(missing_ok=True)
        raise UserError(f"{path}: {error}") from None
    return [
        OfficialFile(
            name,
            tuple(urljoin(address, name) for address in listing.addresses),
            bytes=size,
            checksum=Checksum("sha1", sha1),
        )
        for name, (size, sha1) in facts.items()
    ], True


def _planned(file: OfficialFile, publication: Publication, params: DownloadParams) -> PlannedFile:
    theirs = _theirs(file, params)
    here = theirs.stat().st_size if theirs else http_client.have(store(), file)
    by_hand = (
        "" if theirs or file.addresses or _other_forms(publication, params) else publication.by_hand
    )
    if params.origin == "local" and not theirs and not _other_forms(publication, params):
        by_hand = f"put it into {params.path}"
    return PlannedFile(
        file.name,
        file.expected,
        file.bytes is not None,
        file.checksum is not None,
        here,
        file.addresses,
        by_hand,
    )


def _theirs(file: OfficialFile, params: DownloadParams) -> Path | None:
    """The file in the user's folder, if there is one."""
    if params.path is None:
        return None
    places = (user_folder(params) / name for name in (file.name, *file.also))
    return next((place for place in places if place.is_file()), None)


def _other_forms(publication: Publication, params: DownloadParams) -> list[Path]:
    """What the user has in place of files that must be got by hand."""
    if params.path is None:
        return []
    return sorted(found for form in publication.instead for found in user_folder(params).glob(form))
