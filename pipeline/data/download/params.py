"""Where the official files of each data set come from, and where they are read."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pipeline.config.limits import Interval, Name, Positive
from pipeline.config.params import Params
from pipeline.data import datasets
from pipeline.data.url_fetch.params import FetchParams


@dataclass(frozen=True)
class HttpParams:
    """files: fetched at the same time; timeout: seconds without an answer, without a byte, or with
    less than a kilobyte per second, that end a try; retries: further tries in a row that bring less
    than that; pause: seconds before the first of these, doubled from one to the next, at most a
    minute; allow_private: a redirect may lead into a private network, where addresses that are
    listed may be anyhow."""

    files: Annotated[int, Interval(1, 1_024)]
    timeout: Positive
    retries: int
    pause: float
    allow_private: bool


@dataclass(frozen=True)
class DownloadParams:
    """Where the official files of a data set come from.

    origin: synthetic data; the publisher, for what is not in the folder `path`; that folder
    alone; or none, for a data set that is left out; mirrors: addresses that are tried before the
    publisher's (see `manifest.read`); official: whether sizes, checksums and counts must be the
    official ones; false for files of your own under the official names.
    """

    origin: Literal["synthetic", "upstream", "local", "none"]
    path: str  # empty: none
    mirrors: list[str]
    official: bool


@dataclass(frozen=True)
class UrlListParams(DownloadParams):
    """For a data set whose official files list URLs: how their images are fetched."""

    fetch: FetchParams


@dataclass(frozen=True)
class DumpParams(DownloadParams):
    """For a data set that is published again and again: the date of the wanted dump, as in its
    address."""

    dump: Name


def params_class(source: str) -> type[DownloadParams]:
    """The class of the blocks `download.common` and `download.SOURCE`."""
    module = datasets.load(source)
    if hasattr(module, "urls"):
        return UrlListParams
    return DumpParams if hasattr(module, "listed") else DownloadParams


def load_params(params: Params, source: str) -> DownloadParams:
    """The parameters of a source; of a list of URLs, with those of fetching."""
    cls, keys = params_class(source), ("download.common", f"download.{source}")
    if cls is UrlListParams:
        return params.load(cls, *keys, fetch=("url_fetch.common", f"url_fetch.{source}"))
    return params.load(cls, *keys)


def readable(folder: Path, params: DownloadParams) -> Path:
    """Where the files to read are: the user's folder, or else the download stage's `folder`, which
    always holds what a list of URLs gave."""
    local = params.origin == "local" and not isinstance(params, UrlListParams)
    return user_folder(params) if local else folder


def user_folder(params: DownloadParams) -> Path:
    """The folder `path`. A relative one starts at the project's root, also where DVC works in a
    throw-away copy."""
    return Path(os.environ.get("DVC_ROOT", "")) / Path(params.path).expanduser()
