"""Secrets that are planted in a running stack are found nowhere but where they are meant to be."""

import asyncio
import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
import redis.asyncio

from tests.support.gateway import eventually
from tests.support.pipeline import PipelineProcess
from tests.support.repeating import RepeatingExchange, RepeatingReceivers
from tests.support.stack import bring_up, embedded_redis

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

[alerts.targets.mail]
url = "env:CANARY_MAIL"

[alerts.rules.sync-failures]
failures = 1
"""
REPEATED_FILE = """
[accounts.repeated]
api_key = "env:CANARY_REPEATED"
secret_key = "env:CANARY_REPEATEDSECRET"
"""
CANARIES = {
    name: f"canary-{name}-c0ffee5ec2e7"
    for name in (
        *("key", "secret", "file", "vault", "database", "kafka", "redis", "refused", "repeated", "repeatedsecret"),
        *("hook", "hookuser", "hookpassword", "mailuser", "mailpassword", "recipient"),
    )
}
CRASH = """
import streams.gateway.service as service
from cli.main import main

async def crash(settings, accounts):
    keys = [account.credentials() for account in accounts]
    raise ZeroDivisionError(keys, settings.redis_url, settings)

service.run_gateway = crash
main(["gateway"])
"""
MASTER_KEY = "Y2FuYXJ5LW1hc3Rlci1rZXktYzBmZmVlNWVjMmU3ISE="


@pytest.fixture
async def pipeline() -> AsyncIterator[PipelineProcess]:
    async with AsyncExitStack() as exits:
        directory = exits.enter_context(a_directory())
        (directory / "portfolio.toml").write_text(FILE.format(directory=directory))
        (directory / "canary.key").write_text(CANARIES["file"])
        (directory / "repeated.toml").write_text(REPEATED_FILE)
        redis_url = await exits.enter_async_context(redis_with_password())
        receivers = RepeatingReceivers()
        await exits.enter_async_context(receivers.listening())
        process = PipelineProcess(directory, "--no-demo")
        postgres_port = process.environment["PORTFOLIO_POSTGRES_PORT"]
        process.environment |= {
            "PORTFOLIO_CONFIG": str(directory / "portfolio.toml"),
            "PORTFOLIO_SECRETS_FILE": str(directory / "secrets.json"),
            "PORTFOLIO_MASTER_KEY": "env:CANARY_MASTER",
            "CANARY_MASTER": MASTER_KEY,
            "CANARY_KEY": CANARIES["key"],
            "CANARY_SECRET": CANARIES["secret"],
            "CANARY_HOOK": f"json://{CANARIES['hookuser']}:{CANARIES['hookpassword']}@{receivers.webhook}/{CANARIES['hook']}",
            "CANARY_MAIL": f"mailto://{CANARIES['mailuser']}:{CANARIES['mailpassword']}@{receivers.mail}"
            f"?mode=insecure&from=portfolio@example.com&to={CANARIES['recipient']}@example.com",
            "CANARY_REPEATED": CANARIES["repeated"],
            "CANARY_REPEATEDSECRET": CANARIES["repeatedsecret"],
            "REDIS_URL": redis_url,
            "DATABASE_READ_URL": f"postgresql://portfolio_reader:{CANARIES['database']}@127.0.0.1:{postgres_port}/portfolio",
            "KAFKA_SASL_PASSWORD": CANARIES["kafka"],
            "LOG_LEVEL": "DEBUG",
        }
        try:
            yield process
        finally:
            await process.abandon()


@contextmanager
def a_directory() -> Iterator[Path]:
    # Not tmp_path: as root Postgres is another user, who may not go there.
    with tempfile.TemporaryDirectory(prefix="portfolio-test-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@asynccontextmanager
async def redis_with_password() -> AsyncIterator[str]:
    with a_directory() as directory:
        server = embedded_redis(directory)
        bring_up(server)
        try:
            async with redis.asyncio.from_url(server.address) as client:
                await client.config_set("requirepass", CANARIES["redis"])
            yield server.address.replace("//", f"//:{CANARIES['redis']}@")
        finally:
            server.process.stop()


async def portfolio(pipeline: PipelineProcess, *words: str, given: str = "") -> str:
    told = await _run(pipeline, *words, given=given)
    assert told.returncode == 0, told.stderr
    return told.stdout


async def _run(pipeline: PipelineProcess, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return await _run_python(pipeline, "-m", "cli.main", *words, given=given)


async def _run_python(
    pipeline: PipelineProcess, *words: str, given: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    run = partial(subprocess.run, capture_output=True, text=True, check=False, timeout=120)
    return await asyncio.to_thread(
        run, [sys.executable, *words], env=os.environ | pipeline.environment | environment, input=given
    )


async def test_no_secret_is_found_where_it_is_not_meant_to_be(pipeline: PipelineProcess) -> None:
    directory = Path(pipeline.environment["PORTFOLIO_CONFIG"]).parent
    await portfolio(pipeline, "secrets", "set", "canary", given=CANARIES["vault"])
    await pipeline.start(timeout_s=300)
    repeated = await _what_is_said_of_an_exchange_that_repeats(pipeline, directory)
    api_key = (await portfolio(pipeline, "keys", "create", "canary", "--scope", "admin:read")).strip()
    canaries = CANARIES | {"api key": api_key, "master key": MASTER_KEY}

    answers = [answer async for answer in _answers(pipeline, api_key)]
    pipeline.kill("cli.main gateway")
    tried = await _run(pipeline, "alerts", "test")
    assert "hook: not delivered" in tried.stdout
    assert "mail: not delivered" in tried.stdout
    crashed = await _run_python(pipeline, "-c", CRASH, BINANCE_REST_URL=pipeline.exchange_url)
    assert "ZeroDivisionError" in crashed.stderr
    command_lines = list(_command_lines())
    redis_values = await _redis_values(pipeline.environment["REDIS_URL"])
    async with redis.asyncio.from_url(pipeline.environment["REDIS_URL"]) as client:
        await client.config_set("requirepass", "another")
        await client.client_kill_filter(_type="normal", skipme=True)
    await eventually(partial(_is_logged, directory, "redis does not answer"), timeout_s=60)
    doctor = await _run(pipeline, "doctor")
    await pipeline.stop()

    meant = {directory / name for name in ("canary.key", "secrets.json")}
    places = {
        "answers of the API": "\n".join(answers).encode(),
        "what the gateway says of an exchange that repeats": repeated.encode(),
        "what the targets' failures say": f"{tried.stdout}{tried.stderr}".encode(),
        "the crash": f"{crashed.stdout}{crashed.stderr}".encode(),
        "the doctor": f"{doctor.stdout}{doctor.stderr}".encode(),
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
        if any(form in content for form in _forms(text))
    ]
    assert found == []


def _forms(text: str) -> Iterator[bytes]:
    """As it is, and as it is within something in Base64, where it begins at any of three places."""
    yield text.encode()
    for lead in range(3):
        coded = base64.b64encode(b"\0" * lead + text.encode())
        # What the neighbours have a part in is left out.
        yield coded[lead + 1 if lead else 0 : len(coded) // 4 * 4 - 4]


async def _what_is_said_of_an_exchange_that_repeats(pipeline: PipelineProcess, directory: Path) -> str:
    """A gateway whose exchange answers with the request at first, until it is live all the same."""
    async with httpx.AsyncClient(base_url=pipeline.exchange_url) as operator:
        key = {"key": CANARIES["repeated"], "secret": CANARIES["repeatedsecret"], "permission": "read"}
        answer = await operator.post("/operator/accounts", json={"account": "repeated", "keys": [key]})
        assert answer.is_success, answer.text
    exchange = RepeatingExchange(pipeline.exchange_url)
    async with exchange.listening():
        environment = os.environ | pipeline.environment | {
            "PORTFOLIO_CONFIG": str(directory / "repeated.toml"),
            "KAFKA_BROKERS": f"127.0.0.1:{pipeline.settings.kafka_port}",
            "BINANCE_REST_URL": f"http://{exchange.address}",
            "BINANCE_WS_API_URL": f"ws://{exchange.address}/ws-api/v3",
            "BINANCE_STREAM_URL": pipeline.exchange_url.replace("http", "ws"),
        }  # fmt: skip
        log = directory / "repeated.log"
        with log.open("wb") as output:
            gateway = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cli.main", "gateway"), env=environment, stdout=output, stderr=output
            )
        try:
            await eventually(
                partial(_is_logged, directory, "account repeated is live"), timeout_s=120, what=log.read_text
            )
        finally:
            gateway.terminate()
            await asyncio.wait_for(gateway.wait(), 30)
    assert min(exchange.repeated.values()) >= 3, exchange.repeated
    said = log.read_text()
    assert "***" in said, "it is told what the exchange answers"
    return said


async def _is_logged(directory: Path, words: str) -> bool:
    return any(words in text for text in _logs(directory))


def _logs(directory: Path) -> Iterator[str]:
    for path in directory.rglob("*.log"):
        yield path.read_text(errors="replace")


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
