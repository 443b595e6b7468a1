"""Which addresses are private, and that no connection reaches them."""

import asyncio
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.web import client, failures
from pipeline.data.web.private import is_private, is_private_name
from pipeline.data.web.urls import exact
from pipeline.errors import UserError
from tests.helpers import web_server

NETWORKS = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
]
SIX = [
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fdff::1",
    "ff02::1",
    "fec0::1",
    "2001:db8::1",
    "64:ff9b:1::7f00:1",
]
PUBLIC = "1.1.1.1 8.8.8.8 93.184.215.14 2606:4700:4700::1111 64:ff9b::808:808 2002:808:808::1"
private = st.sampled_from(NETWORKS).flatmap(
    lambda network: st.ip_addresses(v=4, network=IPv4Network(network))
)


def spellings(address: IPv4Address) -> list[str]:
    """What resolvers take for it."""
    number = int(address)
    parts = str(address).split(".")
    return [
        str(address),
        f"{address}.",
        str(number),
        hex(number),
        f"0{number:o}",
        ".".join(f"0{int(part):o}" for part in parts),
        ".".join(hex(int(part)) for part in parts),
        f"{parts[0]}.{number & 0xFFFFFF}",
        f"{parts[0]}.{parts[1]}.{number & 0xFFFF}",
    ]


def tunnels(address: IPv4Address) -> list[str]:
    """The IPv6 addresses that lead to it."""
    number = int(address)
    return [
        str(IPv6Address(number)),
        f"::ffff:{address}",
        str(IPv6Address(int(IPv6Address("64:ff9b::")) + number)),
        str(IPv6Address((0x2002 << 112) + (number << 80) + 1)),
        str(IPv6Address((0x20010000 << 96) + (0x08080808 << 64) + (number ^ 0xFFFFFFFF))),
    ]


@given(private)
def test_private_networks_are_private_however_they_are_spelled(address):
    assert all(map(is_private_name, spellings(address)))
    assert all(map(is_private, (str(address), *tunnels(address))))


@pytest.mark.parametrize("address", SIX)
def test_so_are_those_of_ipv6(address):
    assert is_private(address) and is_private_name(address)


def test_the_machine_itself_has_names():
    assert all(map(is_private_name, ("localhost", "LocalHost.", "a.localhost")))


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_ones_are_not(address):
    assert not is_private(address) and not is_private_name(address)


def test_names_say_nothing():
    assert not any(map(is_private_name, ("example.org", "1.example", "0x.example", "", "a b")))


def asked(url: str, **options) -> str:
    """The status of a request."""

    async def ask() -> str:
        async with client.client(
            allow_private=options.pop("allow_private", False),
            timeout=aiohttp.ClientTimeout(total=5),
            proxy=options.pop("proxy", None),
        ) as opened:
            try:
                async with opened.get(exact(url), **options) as response:
                    return str(response.status)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                return failures.status(error)

    return asyncio.run(ask())


@pytest.fixture
def server():
    with web_server.web() as server:
        yield server


HOSTS = "127.0.0.1 127.1 2130706433 0x7f000001 0 0.0.0.0 localhost 127.0.0.1. [::1] [::ffff:7f00:1]"


@pytest.mark.parametrize("host", [*HOSTS.split(), "１２７.0.0.1", "127。0。0。1"])
def test_no_spelling_gets_a_connection(server, host):
    assert asked(f"http://{host}:{server.server_port}/fine/1") == "private address"
    assert not server.log


def test_who_may_gets_one(server):
    url = f"http://127.0.0.1:{server.server_port}/fine/1"
    assert asked(url, allow_private=True) == asked(url, trusted=True) == "200"


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["10.1.2.3", "::1"], ["169.254.169.254"]])
def test_what_a_name_resolves_to_is_looked_at(server, monkeypatch, addresses):
    resolve(monkeypatch, lambda: addresses)
    assert asked(f"http://innocent.example:{server.server_port}/fine/1") == "private address"
    assert not server.log


def test_a_name_that_resolves_to_another_address_the_second_time_gains_nothing(server, monkeypatch):
    """One look-up, and the address that it gave is the one that is judged and connected to."""
    answers = [["127.0.0.1"], ["93.184.215.14"]]
    resolve(monkeypatch, lambda: answers.pop(0))
    url = f"http://rebinding.example:{server.server_port}/fine/1"
    assert asked(url) == "private address"
    assert len(answers) == 1 and not server.log


def test_a_proxy_may_be_private_and_what_it_is_asked_for_may_not(server, monkeypatch):
    proxy = server.address
    assert asked("http://data.example/fine/1", proxy=proxy) == "200"
    for host in ("127.1", "[::1]", "localhost", "169.254.169.254"):
        assert asked(f"http://{host}/fine/1", proxy=proxy) == "private address"
    monkeypatch.setenv("http_proxy", proxy)
    assert asked("http://data.example/fine/1") == "200"
    assert asked("http://10.0.0.1/fine/1") == "private address"
    monkeypatch.setenv("no_proxy", "inner.example")
    resolve(monkeypatch, lambda: ["127.0.0.1"])
    assert asked("http://inner.example/fine/1") == "private address"
    assert {url for _, url in server.log} == {"http://data.example/fine/1"}


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "HTTP_PROXY"])
@pytest.mark.parametrize(
    "value", ["proxy.example:3128", "socks5://127.0.0.1:9", "no", "http://[::1"]
)
def test_a_proxy_that_is_no_address_is_not_blamed_on_urls(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="^https?_proxy of the environment is not an address"):
        asked("http://data.example/fine/1")


def resolve(monkeypatch, addresses) -> None:
    """Have each look-up of an example's name give these."""
    real = socket.getaddrinfo

    def lookup(host, port, *rest, **more):
        if not host.endswith(".example"):
            return real(host, port, *rest, **more)
        return [
            real(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]
            for address in addresses()
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
