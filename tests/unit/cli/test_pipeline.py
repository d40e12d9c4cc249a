from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from cli.pipeline import Options, Pipeline, api_url, settings_as_started, with_simulated_exchange
from infra.embedded.children import Child, Task
from infra.embedded.data_directory import require_same_account
from infra.embedded.servers import Directories, Part
from infra.portfolio_file import load_accounts
from infra.settings import Settings


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("BINANCE_API_KEY", "BINANCE_SECRET_KEY", "KAFKA_BROKERS", "DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def pipeline(options: Options | None = None, **settings: object) -> Pipeline:
    return Pipeline(Settings(**settings), Directories(Path.cwd() / "data"), options or Options())  # type: ignore[arg-type]


def names(parts: Sequence[Part]) -> list[str]:
    return [part.name for part in parts]


def child(parts: Sequence[Part], name: str) -> Child:
    [found] = [part for part in parts if part.name == name]
    assert isinstance(found, Child)
    return found


def test_everything_runs_here_when_nothing_is_set() -> None:
    plan = pipeline(Options(workers=2))

    assert names(plan.servers()) == ["kafka", "postgres", "redis", "exchange", "api"]
    assert names(plan.preparations()) == ["migrate", "topics"]
    assert names(plan.services()) == ["gateway", "worker-1", "worker-2", "executions", "alerts", "demo"]
    assert plan.skipped() == []


def test_servers_of_ones_own_are_used_and_this_is_said() -> None:
    plan = pipeline(
        kafka_brokers="k.example:9092",
        database_url=SecretStr("postgresql://u:pw@d.example/x"),
        redis_url=SecretStr("redis://r.example/0"),
    )

    assert names(plan.servers()) == ["exchange", "api"]
    assert [name for name, _ in plan.skipped()] == ["kafka", "postgres", "redis"]
    environment = child(plan.services(), "gateway").environment
    assert environment["KAFKA_BROKERS"] == "k.example:9092"
    assert environment["DATABASE_URL"] == "postgresql://u:pw@d.example/x"


def test_with_real_keys_the_real_account_is_followed_and_nothing_trades(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINANCE_API_KEY", "real-key")
    monkeypatch.setenv("BINANCE_SECRET_KEY", "real-secret")
    plan = pipeline()

    assert "exchange" not in names(plan.servers())
    assert "demo" not in names(plan.services())
    environment = child(plan.services(), "gateway").environment
    assert environment["BINANCE_API_KEY"] == "real-key"
    assert "127.0.0.1" not in environment.get("BINANCE_REST_URL", "")


def test_without_real_keys_every_child_talks_to_the_simulated_exchange() -> None:
    environment = child(pipeline(exchange_port=28080).services(), "gateway").environment

    assert environment["BINANCE_REST_URL"] == "http://127.0.0.1:28080"
    assert environment["BINANCE_WS_API_URL"] == "ws://127.0.0.1:28080/ws-api/v3"
    assert environment["BINANCE_STREAM_URL"] == "ws://127.0.0.1:28080"
    assert environment["BINANCE_API_KEY"] == "demo-key"


def test_no_secret_is_on_a_command_line() -> None:
    plan = pipeline(
        binance_api_key=SecretStr("real-key"),
        binance_secret_key=SecretStr("real-secret"),
        database_url=SecretStr("postgresql://u:hunter2@d.example/x"),
    )
    parts: list[Part] = [*plan.servers(), *plan.preparations(), *plan.services()]

    words = " ".join(" ".join(part.command) for part in parts if isinstance(part, Child | Task))

    assert "cli.main migrate" in words
    assert "real-" not in words
    assert "hunter2" not in words


def test_the_speed_reaches_the_exchange_and_the_demo_trader() -> None:
    plan = pipeline(Options(speed=10))

    assert list(child(plan.servers(), "exchange").command)[-2:] == ["--speed", "10"]
    assert list(child(plan.services(), "demo").command)[-2:] == ["--speed", "10"]


def test_the_demo_trader_can_be_left_out() -> None:
    assert "demo" not in names(pipeline(Options(with_demo=False)).services())


def test_the_address_to_open_is_one_that_a_browser_here_can_reach() -> None:
    assert api_url(Settings(host="0.0.0.0", port=9000)) == "http://127.0.0.1:9000"


FILE = """
exchange = "simulated"
[accounts.main]
[accounts.hedge]
reporting = "BTC"
[accounts.bots]
source = "executions"
"""


def test_the_simulated_exchange_has_the_accounts_of_the_file() -> None:
    Path("portfolio.toml").write_text(FILE)
    plan = pipeline(binance_api_key=SecretStr("real-key"), binance_secret_key=SecretStr("real-secret"))

    environment = child(plan.servers(), "exchange").environment
    assert environment["PORTFOLIO_EXCHANGE_ACCOUNTS"] == "main:main-key:main-secret hedge:hedge-key:hedge-secret"
    assert environment["PORTFOLIO_CONFIG"] == str(Path("portfolio.toml").absolute())
    assert environment["BINANCE_API_KEY"] == ""
    assert environment["BINANCE_REST_URL"] == "http://127.0.0.1:18080"


def test_accounts_of_the_real_exchange_are_never_traded_in() -> None:
    Path("portfolio.toml").write_text('[accounts.main]\napi_key = "env:A"\nsecret_key = "env:B"\n')
    plan = pipeline()

    assert "exchange" not in names(plan.servers())
    assert "demo" not in names(plan.services())
    assert plan.skipped() == [("exchange", "portfolio.toml names accounts: the real exchange is followed")]


def test_the_gateway_alone_finds_the_simulated_exchange_too() -> None:
    assert with_simulated_exchange(Settings()).binance_rest_url == "https://api.binance.com"
    Path("portfolio.toml").write_text(FILE)
    assert with_simulated_exchange(Settings()).binance_rest_url == "http://127.0.0.1:18080"
    elsewhere = with_simulated_exchange(Settings(binance_rest_url="http://exchange.example"))
    assert elsewhere.binance_rest_url == "http://exchange.example"


def test_what_was_started_without_keys_is_the_simulated_exchange_also_in_another_shell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORTFOLIO_EXCHANGE_PORT", "18123")
    assert settings_as_started(Settings()).binance_api_key is None
    Settings().data_dir.mkdir()
    require_same_account(Directories(Settings().data_dir), Settings())

    settings = settings_as_started(Settings())

    (account,) = load_accounts(settings)
    assert settings.binance_rest_url == "http://127.0.0.1:18123"
    assert account.credentials().key.get_secret_value() == "demo-key"
