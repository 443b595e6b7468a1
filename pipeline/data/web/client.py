"""Requests of which none reaches a private network unless it may."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.request import getproxies

import aiohttp
from aiohttp.helpers import get_env_proxy_for_url
from yarl import URL

from pipeline.data.web import urls
from pipeline.data.web.private import PrivateAddressError, is_private_name, public_socket
from pipeline.errors import UserError

_REDIRECTS = (301, 302, 303, 307, 308)


class Client:
    """Single requests: redirects are the caller's to follow.

    A connection is refused by the address that it is made to. Behind a proxy that is the proxy's,
    which the user has chosen: there the proxy resolves names, and only hosts that are private as
    they are spelled are refused here.
    """

    def __init__(
        self,
        public: aiohttp.ClientSession,
        anywhere: aiohttp.ClientSession,
        proxy: str | None,
        allow_private: bool,
    ) -> None:
        self._public, self._anywhere = public, anywhere
        self._proxy, self._allow_private = proxy, allow_private

    def get(self, url: URL, *, trusted: bool = False, **options: Any) -> Any:
        """As `aiohttp.ClientSession.get`. trusted: the host may be private.

        Raises:
            PrivateAddressError: it is; or a ClientConnectorError with that as `os_error`.
        """
        trusted = trusted or self._allow_private
        if not trusted and is_private_name(url.host or ""):
            raise PrivateAddressError
        proxy, proxy_auth = self._proxy_of(url)
        session = self._anywhere if trusted or proxy else self._public
        return session.get(
            url, allow_redirects=False, proxy=proxy, proxy_auth=proxy_auth, **options
        )

    def _proxy_of(self, url: URL) -> tuple[URL | str | None, aiohttp.BasicAuth | None]:
        """The proxy for a URL, by default that of the usual environment variables."""
        if self._proxy is not None:
            return self._proxy, None
        try:
            return get_env_proxy_for_url(url)
        except LookupError:
            return None, None


@asynccontextmanager
async def client(
    *,
    allow_private: bool,
    proxy: str | None = None,
    limit: int = 100,
    keepalive: float = 15.0,
    **options: Any,
) -> AsyncIterator[Client]:
    """A client; `options` are those of `aiohttp.ClientSession`.

    limit: open connections; keepalive: seconds that one without a request is kept.

    Raises:
        UserError: a proxy of the environment is not an address; aiohttp would blame each URL for it.
    """
    _check_proxies()
    async with AsyncExitStack() as stack:
        sessions = []
        for factory in (public_socket, None):
            connector = aiohttp.TCPConnector(
                limit=limit, keepalive_timeout=keepalive, socket_factory=factory
            )
            session = aiohttp.ClientSession(connector=connector, **options)
            sessions.append(await stack.enter_async_context(session))
        yield Client(sessions[0], sessions[1], proxy, allow_private)


def _check_proxies() -> None:
    for scheme, address in getproxies().items():
        if scheme in ("http", "https") and urls.exact(address) is None:
            raise UserError(
                f"{scheme}_proxy of the environment is not an address such as "
                "http://proxy.example.org:3128"
            )


def redirect(response: aiohttp.ClientResponse) -> URL | None:
    """Where a response leads; None where it leads nowhere."""
    if response.status not in _REDIRECTS:
        return None
    location = response.headers.get("Location")
    return None if location is None else urls.redirected(response.url, location)
