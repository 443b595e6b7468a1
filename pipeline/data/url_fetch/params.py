"""How the images behind a list of URLs are fetched."""

from dataclasses import dataclass
from typing import Annotated

from pipeline.config.limits import Count, Interval, Positive, Quality


@dataclass(frozen=True)
class ClientParams:
    """How URLs are requested; as long as hosts answer alike, it changes no byte.

    concurrency: open requests; per_host: of them at one host; timeout: seconds for one try;
    retries: further tries after a transient failure; contact: where a site's owner finds who asks,
    a mail address or a page; allow_private: URLs and redirects may lead to this machine and into
    the networks around it.
    """

    concurrency: Annotated[int, Interval(1, 65_536)]
    per_host: Annotated[int, Interval(1, 65_536)]
    timeout: Positive
    retries: int
    contact: str | None
    allow_private: bool


@dataclass(frozen=True)
class FetchParams:
    """rows_per_file: URLs of one output file; min_side: images with a shorter side are dropped,
    pixels; max_side: longer ones are reduced as they come, pixels, to JPEG of this `quality` (0:
    all stay as they come); placeholder: an image that so many different URLs of the list give
    belongs to none of them."""

    rows_per_file: Count
    min_side: int
    max_side: int
    quality: Quality
    placeholder: int
    client: ClientParams
