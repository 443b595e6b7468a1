"""One try at one URL of a list: what came, or why nothing did, and what the host asks of us."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from pipeline.data.url_fetch.params import ClientParams

LARGEST = 32 << 20  # bytes of a body
_AGENT = "vl-beit"  # what site owners may call us in X-Robots-Tag
_PASSING = re.compile(r"timeout|connection error|no such host|cut short|http (408|425|429|5\d\d)")
_MOVED = (301, 302, 303, 307, 308)
# What owners say who do not want their pictures in data sets; img2dataset heeds the same four.
_OPT_OUTS = {"noai", "noimageai", "noindex", "noimageindex"}
# seconds that a connection without a request is kept: of many hosts only one picture is wanted
_IDLE = 2.0


@dataclass(frozen=True)
class Answer:
    """What one try gave."""

    status: str  # "ok", or why there is no picture
    body: bytes = b""
    moved: URL | None = None  # where to ask instead
    rest: float = 0.0  # seconds for which the host wants no requests
    silent: bool = False  # nothing came back from the host


def passing(status: str) -> bool:
    """Whether it may be different next time."""
    return _PASSING.fullmatch(status) is not None


def address(url: str) -> URL | None:
    """The URL, or None where it cannot be asked."""
    try:
        parsed = URL(url)
        return parsed if parsed.scheme in ("http", "https") and parsed.host else None
    except ValueError:
        return None


@asynccontextmanager
async def session(params: ClientParams, proxy: str | None) -> AsyncIterator[aiohttp.ClientSession]:
    """Without an explicit `proxy` the usual environment variables name one. Cookies are not
    kept."""
    agent = f"{_AGENT} (research data set fetcher" + (
        f"; {params.contact})" if params.contact else ")"
    )
    headers = {
        "User-Agent": agent,
        "Accept": "image/jpeg, image/png;q=0.9, image/*;q=0.5",
        "Accept-Encoding": "identity",
    }
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=params.concurrency, keepalive_timeout=_IDLE),
        proxy=proxy,
        trust_env=proxy is None,
        timeout=aiohttp.ClientTimeout(total=params.timeout),
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as opened:
        yield opened


async def ask(opened: aiohttp.ClientSession, url: URL) -> Answer:
    """One try. Redirects are not followed: the next host has its own turns."""
    try:
        async with opened.get(url, allow_redirects=False) as response:
            return await _read(response)
    except TimeoutError:
        return Answer("timeout", silent=True)
    except (aiohttp.InvalidURL, ValueError):
        return Answer("bad url")
    except aiohttp.ClientConnectorDNSError:
        return Answer("no such host", silent=True)
    except aiohttp.ClientSSLError:
        return Answer("tls error", silent=True)
    except aiohttp.ClientPayloadError:
        return Answer("cut short")
    except aiohttp.ClientResponseError:
        return Answer("not http")
    except (aiohttp.ClientError, OSError):
        return Answer("connection error", silent=True)


async def _read(response: aiohttp.ClientResponse) -> Answer:
    if response.status in _MOVED:
        return _redirected(response)
    if response.status != 200:
        return Answer(f"http {response.status}", rest=rest(response.headers.get("Retry-After", "")))
    if any(map(opts_out, response.headers.getall("X-Robots-Tag", ()))):
        return Answer("opted out")
    if (response.content_length or 0) > LARGEST:
        return Answer("too large")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LARGEST:
            return Answer("too large")
    return Answer("ok", bytes(body)) if body else Answer("empty")


def _redirected(response: aiohttp.ClientResponse) -> Answer:
    try:
        target = address(str(response.url.join(URL(response.headers["Location"]))))
    except (KeyError, ValueError):
        target = None
    return Answer(f"http {response.status}", moved=target)


def rest(told: str) -> float:
    """Seconds that a `Retry-After` asks for: a number or a date; 0 where it says nothing."""
    if told.strip().isdecimal():
        return float(told)
    try:
        return max(0.0, (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):  # no date, or one without a zone
        return 0.0


def opts_out(tag: str) -> bool:
    """Whether an `X-Robots-Tag` (`noai, noindex`, or `somebot: noindex` for that robot alone) is
    about us."""
    agent, colon, rules = tag.rpartition(":")
    if colon and agent.strip().lower() != _AGENT:
        return False
    return bool(_OPT_OUTS & {rule.strip().lower() for rule in rules.split(",")})
