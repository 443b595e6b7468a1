"""The number that Flickr gives a photograph, which its copies in other data sets still tell."""

import re

# http://farm4.staticflickr.com/3153/2970773875_164f0c0b83_z.jpg: number, secret, size.
_URL = re.compile(
    r"https?://(?:[^/]*\.)?(?:static)?flickr\.com/(?:[^?#]*/)?(\d+)_[0-9a-f]+(?:_\w+)?\.\w+"
)


def names(url: str) -> tuple[str, ...]:
    """`flickr <number>` if it is the address of a photograph at Flickr."""
    found = _URL.match(url)
    return (f"flickr {int(found[1])}",) if found else ()
