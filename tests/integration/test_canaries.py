"""Secrets that are planted in a running stack are found nowhere but where they are meant to be."""

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import redis.asyncio

from tests.support.pipeline import PipelineProcess

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

FILE = """
exchange = "simulated"

[accounts.main]

[accounts.by-environment]
api_key = "env:CANARY_KEY"
secret_key = "env:CANARY_SECRET"

[accounts.by-file]
api_key = "file:{directory}/canary.key"
secret_key = "file:{directory}/canary.key"

[accounts.by-vault]
api_key = "secret:canary"
secret_key = "secret:canary"

[alerts.targets.hook]
url = "env:CANARY_HOOK"

[alerts.rules.sync-failures]
failures = 1
"""
CANARIES = {
    name: f"canary-{name}-c0ffee5ec2e7"
    for name in ("key", "secret", "file", "vault", "hook", "database", "kafka", "refused")
}
MASTER_KEY = "Y2FuYXJ5LW1hc3Rlci1rZXktYzBmZmVlNWVjMmU3ISE="


@pytest.fixture
async def pipeline() -> AsyncIterator[PipelineProcess]:
    # Not tmp_path: as root Postgres is another user, who may not go there.
    with tempfile.TemporaryDirectory(prefix="portfolio-test-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        (directory / "portfolio.toml").write_text(FILE.format(directory=directory))
        (directory / "canary.key").write_text(CANARIES["file"])
        process = PipelineProcess(directory, "--no-demo")
        postgres_port = process.environment["PORTFOLIO_POSTGRES_PORT"]
        process.environment |= {
            "PORTFOLIO_CONFIG": str(directory / "portfolio.toml"),
            "PORTFOLIO_SECRETS_FILE": str(directory / "secrets.json"),
            "PORTFOLIO_MASTER_KEY": "env:CANARY_MASTER",
            "CANARY_MASTER": MASTER_KEY,
            "CANARY_KEY": CANARIES["key"],
            "CANARY_SECRET": CANARIES["secret"],
            "CANARY_HOOK": f"json://127.0.0.1:1/{CANARIES['hook']}",
            "DATABASE_READ_URL": f"postgresql://portfolio_reader:{CANARIES['database']}@127.0.0.1:{postgres_port}/portfolio",
            "KAFKA_SASL_PASSWORD": CANARIES["kafka"],
            "LOG_LEVEL": "DEBUG",
        }
        try:
            yield process
        finally:
            await process.abandon()


def portfolio(pipeline: PipelineProcess, *words: str, given: str = "") -> str:
    told = _run(pipeline, *words, given=given)
    assert told.returncode == 0, told.stderr
    return told.stdout


def _run(pipeline: PipelineProcess, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli.main", *words]
    environment = os.environ | pipeline.environment
    return subprocess.run(command, env=environment, input=given, capture_output=True, text=True, check=False)


async def test_no_secret_is_found_where_it_is_not_meant_to_be(pipeline: PipelineProcess) -> None:
    directory = Path(pipeline.environment["PORTFOLIO_CONFIG"]).parent
    portfolio(pipeline, "secrets", "set", "canary", given=CANARIES["vault"])
    await pipeline.start(timeout_s=300)
    api_key = portfolio(pipeline, "keys", "create", "canary", "--scope", "admin:read").strip()
    canaries = CANARIES | {"api key": api_key, "master key": MASTER_KEY}

    answers = [answer async for answer in _answers(pipeline, api_key)]
    pipeline.kill("cli.main gateway")
    tried = _run(pipeline, "alerts", "test")
    assert tried.returncode != 0, "nobody listens there"
    command_lines = list(_command_lines())
    redis_values = await _redis_values(f"redis://127.0.0.1:{pipeline.environment['PORTFOLIO_REDIS_PORT']}/0")
    await pipeline.stop()

    meant = {directory / name for name in ("canary.key", "secrets.json")}
    places = {
        "answers of the API": "\n".join(answers).encode(),
        "what the target's failure says": f"{tried.stdout}{tried.stderr}".encode(),
        "command lines": "\n".join(command_lines).encode(),
        "Redis": redis_values,
        **{str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file() and path not in meant},
        # Encrypted.
        "the vault": (directory / "secrets.json").read_bytes(),
    }
    assert len(places) > 50, "Kafka's, Postgres' and Redis' files and the logs are all there"
    found = [
        (name, place)
        for place, content in places.items()
        for name, text in canaries.items()
        if text.encode() in content
    ]
    assert found == []


async def _answers(pipeline: PipelineProcess, api_key: str) -> AsyncIterator[str]:
    """Everything that the API says, also of errors."""
    async with httpx.AsyncClient(base_url=pipeline.api_url, timeout=30) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
        for path in paths:
            if path != "/portfolio/stream":
                answer = await client.get(path.replace("{symbol}", "BTCUSDT"), headers=_bearer(api_key))
                yield f"{answer.headers}{answer.text}"
                yield (await client.get(path.replace("{symbol}", "BTCUSDT"))).text
        yield (await client.get("/admin/status", headers=_bearer(CANARIES["refused"]))).text


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _command_lines() -> Iterator[str]:
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid():
            yield " ".join(process.info["cmdline"] or ())


async def _redis_values(url: str) -> bytes:
    values = b""
    async with redis.asyncio.from_url(url) as client:
        async for key in client.scan_iter(count=1_000):
            kind = await client.type(key)
            values += key
            match kind:
                case b"hash":
                    values += repr(await client.hgetall(key)).encode()
                case b"stream":
                    values += repr(await client.xrange(key)).encode()
                case b"zset":
                    values += repr(await client.zrange(key, 0, -1)).encode()
                case b"string":
                    values += await client.get(key) or b""
                case _:
                    raise AssertionError(f"{key!r} is a {kind!r}, which is not searched")
    return values
