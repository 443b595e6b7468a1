"""One request for one URL of a list: what came, or why nothing did, and what the host asks for."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from pipeline.data.url_fetch.params import ClientParams
from pipeline.data.web import client as web
from pipeline.data.web import failures

MAX_BYTES = 32 << 20  # bytes of a body
_AGENT = "vl-beit"  # what site owners may call us in X-Robots-Tag
_TRANSIENT = re.compile(
    r"timeout|connection error|no such host|cut short|http (407|408|425|429|5\d\d)"
)
_SILENT = {"timeout", "connection error", "no such host", "tls error"}
# What owners who do not want their images in data sets declare; img2dataset heeds the same four.
_OPT_OUTS = {"noai", "noimageai", "noindex", "noimageindex"}
# seconds that a connection without a request is kept: of many hosts only one image is wanted
_IDLE = 2.0


@dataclass(frozen=True)
class Answer:
    """What one request gave."""

    status: str  # "ok", or why there is no image
    body: bytes = b""
    moved: URL | None = None  # where to ask instead
    rest: float = 0.0  # seconds for which the host wants no requests
    silent: bool = False  # nothing came back from the host


def is_transient(status: str) -> bool:
    """Whether another request may have another outcome."""
    return _TRANSIENT.fullmatch(status) is not None


@asynccontextmanager
async def client(params: ClientParams, proxy: str | None) -> AsyncIterator[web.Client]:
    """Without an explicit `proxy` the usual environment variables name one. Neither cookies are
    kept, nor does anybody get passwords of a `.netrc`."""
    contact = f"; {params.contact}" if params.contact else ""
    headers = {
        "User-Agent": f"{_AGENT} (research data set fetcher{contact})",
        "Accept": "image/jpeg, image/png;q=0.9, image/*;q=0.5",
        "Accept-Encoding": "identity",
    }
    async with web.client(
        allow_private=params.allow_private,
        proxy=proxy,
        limit=params.concurrency,
        keepalive=_IDLE,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=params.timeout),
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as opened:
        yield opened


async def ask(opened: web.Client, url: URL) -> Answer:
    """One request. Redirects are not followed: the next host has its own turns."""
    try:
        async with opened.get(url) as response:
            return await _read(response)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        status = failures.status(error)
        return Answer(status, silent=status in _SILENT)


async def _read(response: aiohttp.ClientResponse) -> Answer:
    if (moved := web.redirect(response)) is not None:
        return Answer(f"http {response.status}", moved=moved)
    if response.status == 407:  # a proxy's: no host has answered
        return Answer("http 407", silent=True)
    if response.status != 200:
        return Answer(f"http {response.status}", rest=rest(response.headers.get("Retry-After", "")))
    if any(map(opts_out, response.headers.getall("X-Robots-Tag", ()))):
        return Answer("opted out")
    if (response.content_length or 0) > MAX_BYTES:
        return Answer("too large")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            return Answer("too large")
    return Answer("ok", bytes(body)) if body else Answer("empty")


def rest(retry_after: str) -> float:
    """Seconds that a `Retry-After` asks for: a number or a date; 0 where it is neither."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):  # no date, or one without a zone
        return 0.0


def opts_out(tag: str) -> bool:
    """Whether an `X-Robots-Tag` (`noai, noindex`, or `somebot: noindex` for that robot alone) is
    about us."""
    agent, colon, rules = tag.rpartition(":")
    if colon and agent.strip().lower() != _AGENT:
        return False
    return bool(_OPT_OUTS & {rule.strip().lower() for rule in rules.split(",")})
