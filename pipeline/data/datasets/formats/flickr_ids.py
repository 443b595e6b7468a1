"""Flickr's number of a photograph, by which its copies in several data sets are recognized."""

import re

# http://farm4.staticflickr.com/3153/2970773875_164f0c0b83_z.jpg: number, secret, size.
_URL = re.compile(
    r"https?://(?:[^/]*\.)?(?:static)?flickr\.com/(?:[^?#]*/)?(\d{1,20})_[0-9a-f]+(?:_\w+)?\.\w+"
)


def names(url: str) -> tuple[str, ...]:
    """`flickr <number>` if the URL is that of a photograph at Flickr, else nothing."""
    match = _URL.match(url)
    return (f"flickr {int(match[1])}",) if match else ()
