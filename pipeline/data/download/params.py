"""Where each source's official files come from, and where they are read."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.data import datasets


@dataclass(frozen=True)
class ClientParams:
    """How URLs are asked; while hosts answer alike, it changes no byte.

    concurrency: open requests; per_host: of them at one host; timeout: seconds for one try;
    retries: further tries after a passing failure; contact: where a site's owner finds who asks, a
    mail address or a page.
    """

    concurrency: int
    per_host: int
    timeout: float
    retries: int
    contact: str | None


@dataclass(frozen=True)
class FetchParams:
    """rows_per_file: URLs of one output file; min_side: pictures with a shorter side are none,
    pixels; max_side: longer ones are reduced as they come, pixels, to JPEG of this `quality` (0:
    all stay as they come); placeholder: a picture that so many different URLs of the list give
    belongs to none of them."""

    rows_per_file: int
    min_side: int
    max_side: int
    quality: int
    placeholder: int
    client: ClientParams


@dataclass(frozen=True)
class DownloadParams:
    """Where the official files of a source come from.

    origin: the generated world; the publisher, for what is not in the folder `path`; that folder
    alone; or none, for a source that is done without; mirrors: addresses that are tried before the
    publisher's (see `published.read`); official: whether sizes, checksums and counts must be the
    official ones; false for files of your own under the official names.
    """

    origin: Literal["world", "upstream", "local", "none"]
    path: str | None
    mirrors: list[str]
    official: bool


@dataclass(frozen=True)
class UrlListParams(DownloadParams):
    """For a source whose official files list URLs: how their pictures are fetched."""

    fetch: FetchParams


@dataclass(frozen=True)
class DumpParams(DownloadParams):
    """For a source that is published again and again: the date of the one that is wanted, as in its
    address."""

    dump: str


def params_class(source: str) -> type[DownloadParams]:
    """The class of `<scale>.download.<source>`."""
    module = datasets.load(source)
    if hasattr(module, "urls"):
        return UrlListParams
    return DumpParams if hasattr(module, "listed") else DownloadParams


def readable(folder: Path, params: DownloadParams) -> Path:
    """Where the files to read are: the user's folder, or else the download stage's `folder`.

    What a list of URLs gave is always in the latter.
    """
    local = params.origin == "local" and not isinstance(params, UrlListParams)
    return user_folder(params) if local else folder


def user_folder(params: DownloadParams) -> Path:
    """Relative paths start at the project's root, also where DVC works in a throw-away copy."""
    return Path(os.environ.get("DVC_ROOT", "")) / Path(params.path).expanduser()
