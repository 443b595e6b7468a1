"""URLs go over the wire as they are listed, and their secrets into no message."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.data.web import client, urls

# of paths and queries: what lists have, and what they should not
tails = st.text(
    st.sampled_from("aZ09/.-_~%+'\"(),:;=&?@!$*[]|{}<>^`\\ é\u00a0\ud7ff中\r\n\t\x00\x7f"),
    max_size=20,
)
SIGNED = "/b/it%27s%2Cx%3A1.jpg?X-Amz-Credential=K%2F2026%2fs3&Signature=a+b%2B%3D&Expires=1"


class Wire:
    """Request targets as they arrive, and where the next response redirects to."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.location: bytes | None = None
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.lines.append(head)
        moved = b"" if self.location is None else b"Location: %s\r\n" % self.location
        status = b"200 OK" if self.location is None else b"302 Found"
        writer.write(b"HTTP/1.1 %s\r\n%sContent-Length: 0\r\n" % (status, moved))
        writer.write(b"Connection: close\r\n\r\n")
        await writer.drain()
        writer.close()


@contextmanager
def wire() -> Iterator[tuple[asyncio.Runner, Wire, client.Client]]:
    with asyncio.Runner() as runner:
        seen = Wire()
        server = runner.run(asyncio.start_server(seen.answer, "127.0.0.1", 0))
        seen.port = server.sockets[0].getsockname()[1]
        opening = client.client(allow_private=True, timeout=aiohttp.ClientTimeout(total=5))
        opened = runner.run(opening.__aenter__())
        yield runner, seen, opened
        runner.run(opening.__aexit__(None, None, None))
        server.close()


async def ask(opened: client.Client, url) -> aiohttp.ClientResponse:
    async with opened.get(url) as response:
        return response


def target(head: bytes) -> str:
    """The target of a request that is one line."""
    match = re.match(rb"GET (\S+) HTTP/1\.1\r\nHost: [^\r\n]+\r\n", head)
    assert match
    return match[1].decode()


def test_the_wire_has_what_the_list_has():
    """But for what cannot stand in the line of a request, which is percent-encoded."""
    with wire() as (runner, seen, opened):

        @given(tails, st.sampled_from(("/", "?", "")))
        @example(SIGNED[1:], "/")
        @example("a/../b/./c//d", "/")
        def holds(tail, start):
            listed = start + tail if start else ""
            url = urls.exact(f"http://127.0.0.1:{seen.port}{listed}")
            seen.lines.clear()
            runner.run(ask(opened, url))
            (head,) = seen.lines
            wanted = listed.rstrip().partition("#")[0]
            wanted = wanted if wanted.startswith("/") else f"/{wanted}"
            if wanted.find("?") == len(wanted) - 1:  # yarl cannot tell an empty query from none
                wanted = wanted[:-1]
            kept = re.sub("[^!-~]", "", wanted)
            sent = target(head)
            if kept == wanted:
                assert sent == wanted
            else:
                assert re.sub("[^!-~]+", "*", wanted) == undone(wanted, sent)

        holds()


def undone(wanted: str, sent: str) -> str:
    """What was sent, with `*` for each run that had to be encoded."""
    for run in re.findall("[^!-~]+", wanted):
        encoded = "".join(f"%{byte:02X}" for byte in run.encode())
        before, found, after = sent.partition(encoded)
        assert found
        sent = f"{before}*{after}"
    return sent


def test_redirects_are_followed_exactly():
    with wire() as (runner, seen, opened):
        first = urls.exact(f"http://127.0.0.1:{seen.port}/dir/first?x=1")
        for location, wanted in (
            (f"https://store.example{SIGNED}", f"https://store.example{SIGNED}"),
            (SIGNED, f"http://127.0.0.1:{seen.port}{SIGNED}"),
            ("next%2Cone?a=%2F", f"http://127.0.0.1:{seen.port}/dir/next%2Cone?a=%2F"),
            ("//cdn.example/it%27s", "http://cdn.example/it%27s"),
            ("/caf\u00e9", f"http://127.0.0.1:{seen.port}/caf%C3%A9"),
            (b"/caf\xe9", f"http://127.0.0.1:{seen.port}/caf%E9"),
            (" /blank in it ", f"http://127.0.0.1:{seen.port}/blank%20in%20it"),
            ("gopher://a/b", None),
            ("http://[::1", None),
            ("http://", None),
        ):
            seen.location = location if isinstance(location, bytes) else location.encode()
            moved = client.redirect(runner.run(ask(opened, first)))
            assert (moved and str(moved)) == wanted
        seen.location = None
        assert client.redirect(runner.run(ask(opened, first))) is None


@given(st.text(max_size=30), st.text(max_size=10))
@example("http://a b/c", "")
@example("http://a\r\nX: y/", "")
@example("http://host\\path", "")
@example("http://a:99999/", "")
@example("http://@/", "")
def test_any_text_is_a_url_or_none(text, authority):
    for candidate in (text, f"http://{text}", f"https://{authority}/{text}"):
        url = urls.exact(candidate)
        assert url is None or (url.host and re.fullmatch("[!-~]+", str(url)))
        assert "\n" not in urls.shown(candidate)


@pytest.mark.parametrize(
    "address",
    [
        "https://user:secret@data.example:8443/a/b.zip?token=secret#secret",
        "https://secret@data.example:8443/a/b.zip",
        "https://us@er:sec@ret@data.example:8443/a/b.zip?secret",
        "https://data.example:8443/a/b.zip?X-Amz-Signature=secret",
    ],
)
def test_secrets_are_not_shown(address):
    assert urls.shown(address) == "https://data.example:8443/a/b.zip"


@pytest.mark.parametrize("address", ["https://user:sec?ret@host/", "ftp://u:secret@h/", "secret"])
def test_what_is_no_address_shows_nothing(address):
    assert "ret" not in urls.shown(address)
