"""`portfolio api` as a process of its own: TLS, and who is let in where it listens."""

import asyncio
import datetime as dt
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def make_certificate(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = directory / "certificate.pem", directory / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


@asynccontextmanager
async def api(*arguments: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    values = {
        **os.environ,
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "LOG_LEVEL": "ERROR",
        **environment,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli.main", "api", *arguments, env=values, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def answer(client: httpx.AsyncClient, path: str) -> httpx.Response:
    async with asyncio.timeout(60):
        while True:
            try:
                return await client.get(path)
            except httpx.ConnectError:
                await asyncio.sleep(0.1)


async def test_it_speaks_tls_and_asks_for_a_key_where_others_can_reach_it(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    trusting = ssl.create_default_context(cafile=str(certificate))
    arguments = ("--host", "0.0.0.0", "--port", str(port))
    files = {"PORTFOLIO_TLS_CERTIFICATE": str(certificate), "PORTFOLIO_TLS_KEY": str(key)}
    async with (
        api(*arguments, **files),
        httpx.AsyncClient(base_url=f"https://127.0.0.1:{port}", verify=trusting) as client,
    ):
        assert (await answer(client, "/health/live")).status_code == 200
        assert (await client.get("/portfolio/overview")).status_code == 401
        assert (await client.get("/")).status_code == 200
        async with httpx.AsyncClient() as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get(f"http://127.0.0.1:{port}/health/live")


async def test_a_certificate_without_its_key_is_a_clear_error(tmp_path: Path) -> None:
    certificate, _ = make_certificate(tmp_path)
    async with api("--port", str(free_port()), PORTFOLIO_TLS_CERTIFICATE=str(certificate)) as process:
        async with asyncio.timeout(60):
            _, told = await process.communicate()
    assert process.returncode == 1
    assert b"PORTFOLIO_TLS_KEY" in told
