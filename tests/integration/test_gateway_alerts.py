"""What the exchange refuses for good is an alert: a key that it does not know, and one that it takes back."""

import secrets
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.portfolio_file import AccountConfig
from infra.postgres.migrate import migrate
from infra.settings import Settings
from portfolio.alerts.engine import Alert
from streams.alerts.desk import known_alerts
from streams.alerts.service import run_alerts
from streams.creation import ensure_topics
from streams.gateway.service import run_gateway
from tests.support.followed import Followed, followed
from tests.support.gateway import eventually
from tests.support.running import running

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

ACCOUNT = """
[accounts.{name}]
api_key = "secret:{name}"
secret_key = "secret:{name}"
"""


@pytest.fixture
async def settings(kafka_brokers: str, redis_url: str, database_url: str, tmp_path: Path) -> Settings:
    await migrate(database_url)
    settings = Settings(
        kafka_brokers=kafka_brokers,
        redis_url=SecretStr(redis_url),
        database_url=SecretStr(database_url),
        portfolio_config=tmp_path / "portfolio.toml",
        balance_sync_interval_s=1.0,
    )
    await ensure_topics(settings, on_wait=print)
    return settings


async def alert_of(world: Followed, account: str, *, is_open: bool) -> Alert:
    """The newest alert of an account over failed syncs, once it is open, or over."""
    found: list[Alert] = []

    async def is_there() -> bool:
        alerts = (await known_alerts(world.settings)).alerts
        found[:] = [one for one in alerts if (one.account, one.kind) == (account, "sync_failures")][:1]
        return bool(found) and found[0].is_open is is_open

    await eventually(is_there, timeout_s=150, what=lambda: str(found))
    return found[0]


async def test_a_key_that_is_refused_is_an_alert_until_it_is_accepted(
    settings: Settings,
) -> None:
    async with followed(settings, kinds=("hmac",)) as world:
        [known] = world.accounts
        unknown = f"unknown-{secrets.token_hex(4)}"
        settings.portfolio_config.write_text("".join(ACCOUNT.format(name=name) for name in (unknown, known.name)))
        key = SecretStr(f"key-of-{unknown}")
        wrong = AccountConfig(
            name=unknown, reporting="USDT", cash_assets=frozenset({"USDT"}), api_key=key, secret_key=SecretStr("s")
        )  # fmt: skip
        async with running(run_gateway(world.settings, [known.config(), wrong]), run_alerts(world.settings)):
            refused = await alert_of(world, unknown, is_open=True)
            assert "the gateway cannot follow the account: Binance refused the API key (code -2015" in refused.text
            assert key.get_secret_value() not in refused.text
            # No topic tells of it; the other account is followed all the while.
            await eventually(world.are_live, timeout_s=120)

            await world.operate(
                "accounts", {"account": unknown, "keys": [{"key": key.get_secret_value(), "secret": "s"}]}
            )
            assert (await alert_of(world, unknown, is_open=False)).id == refused.id

            stolen = {"key": known.keys[1].key, "secret": "another"}
            await world.operate("accounts", {"account": f"taken-{unknown}", "keys": [stolen]})
            assert "code -1022" in (await alert_of(world, known.name, is_open=True)).text
