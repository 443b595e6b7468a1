"""A server that cannot prove that it is the one that is asked gets no request."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.data.download import http_client
from pipeline.data.download.manifest import OfficialFile
from pipeline.data.download.params import HttpParams
from pipeline.data.web import client, failures
from pipeline.data.web.urls import exact
from pipeline.errors import UserError

NOW = datetime.now(UTC)


def certificate(folder, *, host: str = "127.0.0.1", days: int = 1) -> ssl.SSLContext:
    """A server's context; its certificate is signed by itself and ends in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=9))
        .not_valid_after(NOW + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), False)
    )
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "cert.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


class Server:
    """Counts connections that got as far as a request."""

    requests = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()


async def asked(folder, context: ssl.SSLContext, *, known: bool) -> tuple[str, int]:
    """The status of a request, with the certificate among those that are known; and requests."""
    seen = Server()
    listening = await asyncio.start_server(seen.answer, "127.0.0.1", 0, ssl=context)
    trust = ssl.create_default_context(cafile=folder / "cert.pem") if known else True
    url = exact(f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/x")
    async with (
        listening,
        client.client(allow_private=True, timeout=aiohttp.ClientTimeout(total=5)) as opened,
    ):
        try:
            async with opened.get(url, ssl=trust) as response:
                return str(response.status), seen.requests
        except aiohttp.ClientError as error:
            assert failures.is_permanent(error)
            return failures.reason(error), seen.requests


@pytest.mark.parametrize(
    "known, options, outcome",
    [
        (True, {}, "200"),
        (False, {}, "tls error: self-signed certificate"),
        (True, {"days": -1}, "tls error: certificate has expired"),
        (
            True,
            {"host": "10.9.8.7"},
            "tls error: IP address mismatch, certificate is not valid for",
        ),
    ],
)
def test_certificates_are_checked(tmp_path, known, options, outcome):
    status, requests = asyncio.run(asked(tmp_path, certificate(tmp_path, **options), known=known))
    assert status.startswith(outcome) and "\n" not in status
    assert requests == (status == "200")


def test_a_download_does_not_try_again(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    tries = []
    request = client.Client.get
    monkeypatch.setattr(
        client.Client, "get", lambda *words, **more: tries.append(1) or request(*words, **more)
    )

    async def listen() -> None:
        listening = await asyncio.start_server(
            Server().answer, "127.0.0.1", 0, ssl=certificate(tmp_path)
        )
        address = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/x"
        params = HttpParams(files=1, timeout=5.0, retries=8, pause=0.0, allow_private=False)
        file = OfficialFile("x", (address,), bytes=5)
        async with listening:
            with pytest.raises(UserError, match="/x: tls error: self-signed certificate$"):
                await asyncio.to_thread(http_client.get, [file], tmp_path / "store", params, "test")

    asyncio.run(listen())
    assert len(tries) == 1
