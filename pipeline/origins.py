"""Where each source's official files come from, and where they are read."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline import sources


@dataclass(frozen=True)
class ClientParams:
    """How URLs are asked; while hosts answer alike, it changes no byte.

    concurrency: open requests; per_host: of them at one host; timeout: seconds for one try; retries: further tries
    after a passing failure; contact: where a site's owner finds who asks, a mail address or a page.
    """

    concurrency: int
    per_host: int
    timeout: float
    retries: int
    contact: str | None


@dataclass(frozen=True)
class FetchParams:
    """rows_per_file: URLs of one output file; min_side: pictures with a shorter side are none, pixels; max_side: longer
    ones are reduced as they come, pixels, to JPEG of this `quality` (0: all stay as they come); placeholder: a picture
    that so many different URLs of the list give belongs to none of them."""

    rows_per_file: int
    min_side: int
    max_side: int
    quality: int
    placeholder: int
    client: ClientParams


@dataclass(frozen=True)
class DownloadParams:
    """origin: the generated world, the publisher, or the folder `path` that already holds the official files."""

    origin: Literal["world", "upstream", "local"]
    path: str | None


@dataclass(frozen=True)
class UrlListParams(DownloadParams):
    """For a source whose official files list URLs: how their pictures are fetched."""

    fetch: FetchParams


def params_class(source: str) -> type[DownloadParams]:
    """The class of `<scale>.download.<source>`."""
    return UrlListParams if hasattr(sources.load(source), "urls") else DownloadParams


def readable(folder: Path, params: DownloadParams) -> Path:
    """Where the files to read are: the user's folder, or else the download stage's `folder`.

    What a list of URLs gave is always in the latter.
    """
    local = params.origin == "local" and not isinstance(params, UrlListParams)
    return user_folder(params) if local else folder


def user_folder(params: DownloadParams) -> Path:
    """Relative paths start at the project's root, also where DVC works in a throw-away copy."""
    return Path(os.environ.get("DVC_ROOT", "")) / Path(params.path).expanduser()
