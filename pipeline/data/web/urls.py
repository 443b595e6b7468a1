"""URLs as they are requested, and as messages may show them."""

import re
from functools import lru_cache
from urllib.parse import quote, urljoin

from yarl import URL

# scheme, authority, path, query; a fragment is never requested
_PARTS = re.compile(
    r"(https?)://([^/?#\\\s]+)(/[^?#]*)?(\?[^#]*)?(?:#.*)?", re.IGNORECASE | re.DOTALL
)
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_UNSENDABLE = re.compile("[^!-~]+")  # blanks, control characters, beyond ASCII


def exact(listed: str) -> URL | None:
    """What is requested for a URL of a list: path and query as they stand there, since a signature,
    or a host that knows `%27` and not `'`, may depend on each character.

    Only what cannot stand in the line of a request is percent-encoded, and a `?` that nothing
    follows is left out. None for what is no `http` or `https` URL with a host.
    """
    if (parts := _PARTS.fullmatch(listed.strip())) is None:
        return None
    scheme, authority, path, query = parts.groups("")
    try:
        target = _UNSENDABLE.sub(_encoded, (path or "/") + query)
    except ValueError:  # half a pair of surrogates
        return None
    origin = _origin(scheme.lower(), authority)
    return None if origin is None else URL(origin + target, encoded=True)


def redirected(url: URL, location: str) -> URL | None:
    """Where a redirect from `url` leads, exactly as the server says it; None: nowhere."""
    location = location.strip()
    if _ABSOLUTE.match(location):
        return exact(location)
    try:
        return exact(urljoin(str(url), location))
    except ValueError:
        return None


def shown(address: str) -> str:
    """An address without what may be secret: user and password, query and fragment."""
    if (url := exact(address)) is None:
        return "an address that is none"
    return f"{url.scheme}://{url.host_port_subcomponent}{url.raw_path}"


@lru_cache(4096)  # lists have many URLs of a host
def _origin(scheme: str, authority: str) -> str | None:
    """Scheme and authority, in which host names beyond ASCII are encoded; None: no host."""
    try:
        url = URL(f"{scheme}://{authority}/")
        return str(url)[:-1] if url.host and _UNSENDABLE.search(str(url)) is None else None
    except ValueError:
        return None


def _encoded(match: re.Match[str]) -> str:
    """Percent-encoded UTF-8; bytes of a header that are none stay the bytes that they are."""
    return quote(match[0], safe="", errors="surrogateescape")
