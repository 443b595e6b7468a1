"""Where each source's official files come from, and where they are read."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline import sources


@dataclass(frozen=True)
class FetchParams:
    """concurrency: open requests; timeout: seconds for one try; retries: further tries after a passing failure;
    rows_per_file: URLs of one output file, which is also what is held in memory."""

    concurrency: int
    timeout: float
    retries: int
    rows_per_file: int


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
