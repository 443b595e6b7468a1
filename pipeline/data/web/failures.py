"""What went wrong with a request, in the few words that statuses and messages have for it."""

import aiohttp

from pipeline.data.web.private import PRIVATE, PrivateAddressError


def status(error: Exception) -> str:
    """One of the statuses of docs/fetching.md. `error`: aiohttp's, or an OSError."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, PrivateAddressError):
        return PRIVATE
    for kinds, name in _NAMES:
        if isinstance(error, kinds):
            return name
    return "connection error"


def reason(error: Exception) -> str:
    """The status, and what else there is to say in one line that names no address."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        return f"{status(error)}: {getattr(cause, 'verify_message', '') or 'bad certificate'}"
    detail = error.strerror if isinstance(error, OSError) else None
    name = status(error)
    return f"{name}: {detail}" if name == "connection error" and detail else name


def is_permanent(error: Exception) -> bool:
    """Whether no other try will help: the address is none, or private, or its server cannot prove
    that it is the one that is asked."""
    certificate = isinstance(error, aiohttp.ClientConnectorCertificateError)
    return certificate or status(error) in (PRIVATE, "bad url")


# The first that fits: a wrong certificate is also a ValueError, and a timeout an OSError.
_NAMES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (TimeoutError, "timeout"),
    (aiohttp.ClientSSLError, "tls error"),
    (aiohttp.ClientConnectorDNSError, "no such host"),
    ((aiohttp.InvalidURL, ValueError), "bad url"),
    (aiohttp.ClientHttpProxyError, "connection error"),  # the proxy did not connect
    (aiohttp.ClientPayloadError, "cut short"),
    (aiohttp.ClientResponseError, "not http"),
)
