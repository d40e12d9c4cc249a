"""The doctor with everything up, and with each part down."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from aiohttp import web
from pydantic import SecretStr

from infra.doctor.exchange import check_exchange
from infra.doctor.findings import Finding, Verdict, run_checks
from infra.doctor.machine import check_disk, check_postgres, check_redis, check_versions
from infra.embedded.checks import free_port
from infra.exchange.app import DEMO_KEY, ExchangeOptions, running_exchange
from infra.postgres.migrate import migrate
from infra.settings import Settings
from streams.creation import ensure_topics
from streams.doctor import check_kafka

pytestmark = pytest.mark.integration

CHECKS = [
    ("binance", check_exchange),
    ("kafka", check_kafka),
    ("postgres", check_postgres),
    ("redis", check_redis),
    ("disk", check_disk),
    ("versions", check_versions),
]


@pytest.fixture
async def healthy(own_brokers: str, database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Settings]:
    async with running_exchange(ExchangeOptions()) as exchange_url:
        settings = Settings(
            binance_rest_url=exchange_url,
            binance_ws_api_url=f"{exchange_url.replace('http', 'ws')}/ws-api/v3",
            binance_stream_url=exchange_url.replace("http", "ws"),
            binance_api_key=SecretStr(DEMO_KEY.key),
            binance_secret_key=SecretStr(DEMO_KEY.secret),
            kafka_brokers=own_brokers,
            database_url=SecretStr(database_url),
            redis_url=SecretStr(redis_url),
            data_dir=tmp_path / "not" / "yet",
        )
        await ensure_topics(settings, on_wait=print, timeout_s=30)
        await migrate(database_url)
        yield settings


def verdicts(findings: list[Finding]) -> dict[str, Verdict]:
    return {finding.check: finding.verdict for finding in findings}


async def test_all_is_well_but_for_a_key_that_may_trade(healthy: Settings) -> None:
    findings = await run_checks(healthy, CHECKS)
    others = {
        "binance", "clock", "market streams", "key", "user data", "request weight", "kafka", "topics",
        "postgres", "schema", "database rights", "redis", "versions",
    }  # fmt: skip
    found = verdicts(findings)
    assert {check: found[check] for check in others} == dict.fromkeys(others, Verdict.OK)
    assert found["permissions"] is Verdict.WARN
    assert found.keys() - others == {"permissions", "disk"}
    seen = {finding.check: finding.seen for finding in findings}
    assert "the key may trade" in seen["permissions"]
    assert "HMAC" in seen["key"]
    assert re.fullmatch(r"\d\d? of 6000 in this minute", seen["request weight"])


async def test_each_account_of_the_file_is_checked(healthy: Settings, tmp_path: Path) -> None:
    file = tmp_path / "portfolio.toml"
    file.write_text(
        """
        [accounts.good]
        api_key = "env:DOCTOR_KEY"
        secret_key = "env:DOCTOR_SECRET"
        [accounts.wrong]
        api_key = "env:DOCTOR_OTHER_KEY"
        secret_key = "env:DOCTOR_SECRET"
        [accounts.missing]
        api_key = "env:DOCTOR_NO_KEY"
        secret_key = "env:DOCTOR_NO_SECRET"
        [accounts.bots]
        source = "executions"
        """
    )
    settings = healthy.model_copy(update={"portfolio_config": file})
    keys = {"DOCTOR_KEY": DEMO_KEY.key, "DOCTOR_SECRET": DEMO_KEY.secret, "DOCTOR_OTHER_KEY": "hunter2"}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in keys.items():
            environment.setenv(name, value)
        findings = await run_checks(settings, [("binance", check_exchange)])
    found = {finding.check: finding for finding in findings}
    assert found["key of good"].verdict is Verdict.OK
    assert found["user data of good"].verdict is Verdict.OK
    assert (found["key of wrong"].verdict, found["key of missing"].verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert "DOCTOR_NO_KEY" in found["key of missing"].seen
    assert not [check for check in found if "bots" in check]
    assert "hunter2" not in str(findings)


async def test_an_address_that_sent_too_much_is_told_how_long_it_is_refused(healthy: Settings) -> None:
    async with httpx.AsyncClient(base_url=healthy.binance_rest_url) as client:
        fault = {"kind": "too-many-requests", "seconds": 60, "path": "/api/v3/account"}
        (await client.post("/operator/faults", json=fault)).raise_for_status()
    found = {finding.check: finding for finding in await check_exchange(healthy)}
    assert found["key"].verdict is Verdict.FAIL
    assert "refused for" in found["key"].seen


@pytest.mark.parametrize(
    ("setting", "address", "check", "verdict"),
    [
        ("binance_rest_url", "http://127.0.0.1:{port}", "binance", Verdict.FAIL),
        ("kafka_brokers", "127.0.0.1:{port}", "kafka", Verdict.FAIL),
        ("database_url", "postgresql://ada:hunter2@127.0.0.1:{port}/books", "postgres", Verdict.FAIL),
        ("redis_url", "redis://:hunter2@127.0.0.1:{port}/0", "redis", Verdict.WARN),
    ],
)
async def test_a_part_that_is_down_is_named_and_the_others_are_checked(
    setting: str, address: str, check: str, verdict: Verdict, healthy: Settings
) -> None:
    port = free_port()
    away = address.format(port=port)
    value: object = away if setting in {"binance_rest_url", "kafka_brokers"} else SecretStr(away)
    findings = await run_checks(healthy.model_copy(update={setting: value}), CHECKS)
    parts = {"binance", "kafka", "postgres", "redis"}
    found = verdicts(findings)
    assert {part: found[part] for part in parts} == dict.fromkeys(parts, Verdict.OK) | {check: verdict}
    [broken] = [finding for finding in findings if finding.check == check]
    assert f"127.0.0.1:{port}" in broken.seen
    assert broken.remedy
    assert "hunter2" not in str(findings)


async def test_a_refused_and_a_missing_key_say_what_to_do(healthy: Settings) -> None:
    refused = await check_exchange(healthy.model_copy(update={"binance_secret_key": SecretStr("wrong")}))
    [key] = [finding for finding in refused if finding.check == "key"]
    assert key.verdict is Verdict.FAIL
    assert "-1022" in key.seen
    assert "BINANCE_SECRET_KEY" in key.remedy
    missing = await check_exchange(healthy.model_copy(update={"binance_secret_key": None}))
    [key] = [finding for finding in missing if finding.check == "key"]
    assert (key.verdict, key.seen) == (Verdict.WARN, "BINANCE_SECRET_KEY is not set")
    assert verdicts(missing)["clock"] is Verdict.OK


async def test_an_empty_and_a_read_only_database_are_told_apart(healthy: Settings, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        read_only = verdicts(await check_postgres(healthy))
        assert (read_only["schema"], read_only["database rights"]) == (Verdict.OK, Verdict.FAIL)
        await connection.execute("DROP TABLE alembic_version")
    finally:
        await connection.close()
    [_, schema] = await check_postgres(healthy)
    assert (schema.verdict, schema.remedy) == (Verdict.FAIL, "Run `portfolio migrate`")


async def test_tables_that_may_not_be_written_are_named(healthy: Settings, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    role = f"reader_{await connection.fetchval('SELECT current_database()')}"
    try:
        await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        await connection.execute(f"GRANT SELECT ON alembic_version TO {role}")
        user_at, _, rest = database_url.rpartition("@")
        scheme = user_at.partition("://")[0]
        as_reader = SecretStr(f"{scheme}://{role}:x@{rest}")
        [*_, rights] = await check_postgres(healthy.model_copy(update={"database_url": as_reader}))
        assert rights.verdict is Verdict.FAIL
        assert rights.seen.startswith("this user may not read and write ")
        assert "alembic_version" in rights.seen
    finally:
        await connection.execute(f"DROP OWNED BY {role}")
        await connection.execute(f"DROP ROLE {role}")
        await connection.close()


@asynccontextmanager
async def answering(answers: dict[str, Any]) -> AsyncIterator[str]:
    """A server with an answer for each path; a number is a status."""

    async def answer(request: web.Request) -> web.Response:
        found = answers[request.path.rpartition("/")[2]]
        return web.Response(status=found) if isinstance(found, int) else web.json_response(found)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_clock_that_is_six_seconds_behind_fails() -> None:
    ahead = {"serverTime": time.time_ns() // 1_000 + 6_000_000}
    async with answering({"ping": {}, "time": ahead}) as url:
        [_, clock, *_] = await check_exchange(Settings(binance_rest_url=url))
    assert clock.verdict is Verdict.FAIL
    assert "behind the exchange's" in clock.seen


async def test_an_exchange_that_refuses_the_address_says_why() -> None:
    async with answering({"ping": 451}) as url:
        [reached] = await check_exchange(Settings(binance_rest_url=url))
    assert reached.verdict is Verdict.FAIL
    assert "451" in reached.seen
    assert "location" in reached.remedy


async def test_an_answer_of_another_shape_is_a_finding() -> None:
    async with answering({"ping": {}, "time": {"hello": 1}, "account": []}) as url:
        settings = Settings(binance_rest_url=url, binance_api_key=SecretStr("k"), binance_secret_key=SecretStr("s"))
        found = verdicts(await run_checks(settings, [("binance", check_exchange)]))
    assert (found["binance"], found["clock"], found["key"]) == (Verdict.OK, Verdict.FAIL, Verdict.FAIL)


def test_the_command_prints_json_and_ends_with_one_when_everything_is_down(tmp_path: Path) -> None:
    port = free_port()
    away = {
        "BINANCE_REST_URL": f"http://127.0.0.1:{port}",
        "BINANCE_API_KEY": "hunter2-key",
        "BINANCE_SECRET_KEY": "hunter2-secret",
        "KAFKA_BROKERS": f"127.0.0.1:{port}",
        "DATABASE_URL": f"postgresql://ada:hunter2-db@127.0.0.1:{port}/books",
        "REDIS_URL": f"redis://:hunter2-redis@127.0.0.1:{port}/0",
    }
    for arguments in (["--json"], []):
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "doctor", *arguments],
            env={**os.environ, **away}, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr == ""
        assert "hunter2" not in done.stdout
        if arguments:
            answer = json.loads(done.stdout)
            assert answer["ok"] is False
            failed = {each["check"] for each in answer["findings"] if each["verdict"] == "FAIL"}
            assert failed == {"binance", "kafka", "postgres"}


async def test_the_command_ends_with_zero_when_there_are_only_warnings(healthy: Settings, tmp_path: Path) -> None:
    """In a thread, since the exchange runs in this event loop."""
    assert healthy.binance_api_key is not None
    assert healthy.binance_secret_key is not None
    assert healthy.database_url is not None
    environment = {
        "BINANCE_REST_URL": healthy.binance_rest_url,
        "BINANCE_WS_API_URL": healthy.binance_ws_api_url,
        "BINANCE_STREAM_URL": healthy.binance_stream_url,
        "BINANCE_API_KEY": healthy.binance_api_key.get_secret_value(),
        "BINANCE_SECRET_KEY": healthy.binance_secret_key.get_secret_value(),
        "KAFKA_BROKERS": healthy.brokers,
        "DATABASE_URL": healthy.database_url.get_secret_value(),
        "REDIS_URL": healthy.redis_dsn,
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "cli.main", "doctor"],
        env={**os.environ, **environment}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "WARN" in done.stdout
