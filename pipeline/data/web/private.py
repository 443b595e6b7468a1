"""Which addresses are private: those of this machine, of the networks around it, and all others
that the public internet does not route to."""

import errno
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

PRIVATE = "private address"
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")


class PrivateAddressError(ConnectionError):
    """A connection to a private address was refused here, before it was made."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, PRIVATE)


def is_private(address: str) -> bool:
    """Whether an address of a socket (`127.0.0.1`, `fe80::1%eth0`) is not a public host's."""
    return not all(map(_is_public, _meanings(ip_address(address))))


def is_private_name(host: str) -> bool:
    """Whether the host of a URL is private as it is spelled, also as `127.1`, `0x7f000001` and
    whatever else the system's resolver takes for an address."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    if ":" not in name and not name.rpartition(".")[2][:1].isdigit():
        return False  # no address ends so, and most hosts do
    try:
        return is_private(name)
    except ValueError:
        pass
    try:
        return is_private(socket.inet_ntoa(socket.inet_aton(name)))
    except (OSError, ValueError):
        return False


def public_socket(info: tuple) -> socket.socket:
    """For `aiohttp.TCPConnector`, which calls this for the very address that it then connects to,
    whatever a name resolved to before.

    Raises:
        PrivateAddressError: it is a private one.
    """
    family, kind, protocol, _, address = info
    if is_private(address[0]):
        raise PrivateAddressError
    return socket.socket(family, kind, protocol)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    site_local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not (address.is_multicast or address.is_reserved or site_local)


def _meanings(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """The IPv4 addresses that a translator or tunnel reads in an IPv6 address, or else the address
    itself."""
    inner: list[IPv4Address | None] = []
    if isinstance(address, IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64 or address in _COMPATIBLE:
            inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
    found = [known for known in inner if known is not None]
    if found:
        yield from found
    else:
        yield address
