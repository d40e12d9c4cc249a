"""`portfolio.toml`: what it says, and what it answers to everything that it cannot say."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.errors import RemediableError
from infra.portfolio_file import AccountConfig, is_simulated, load_accounts, load_portfolio_file, select_accounts
from infra.secrets import is_reference, resolve_secret
from infra.settings import Settings

KEYS = 'api_key = "env:A"\nsecret_key = "file:secret.txt"\n'


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("BINANCE_API_KEY", "BINANCE_SECRET_KEY", "PORTFOLIO_CONFIG", "PORTFOLIO_ACCOUNT", "A"):
        monkeypatch.delenv(name, raising=False)


def accounts_of(text: str, **settings: object) -> tuple[AccountConfig, ...]:
    Path("portfolio.toml").write_text(text, encoding="utf-8")
    return load_accounts(Settings(**settings))  # type: ignore[arg-type]


def refusal(text: str) -> str:
    with pytest.raises(RemediableError) as refused:
        accounts_of(text)
    assert "docs/" in refused.value.remedy or refused.value.remedy[0].isupper()
    return str(refused.value)


def test_without_a_file_there_is_one_account_from_the_settings() -> None:
    settings = Settings(
        account="solo", reporting_currency="EUR", binance_api_key=SecretStr("k"), binance_secret_key=SecretStr("s")
    )
    (account,) = load_accounts(settings)
    assert (account.name, account.reporting, account.source) == ("solo", "EUR", "binance")
    assert [each.get_secret_value() for each in account.credentials()] == ["k", "s"]
    assert not is_simulated(settings)
    assert is_simulated(Settings())


def test_a_file_that_was_asked_for_must_be_there() -> None:
    with pytest.raises(RemediableError, match=r"other\.toml is not there.*PORTFOLIO_CONFIG"):
        load_accounts(Settings(portfolio_config=Path("other.toml")))


def test_accounts_come_in_the_order_of_the_file_and_take_from_the_settings_what_they_leave_out() -> None:
    main, hedge, bots = accounts_of(
        f'[accounts.main]\n{KEYS}[accounts.hedge]\nreporting = "EUR"\ncash_assets = ["EUR", "USDC"]\n'
        'api_key = "env:B"\nsecret_key = "env:C"\n[accounts.bots]\nsource = "executions"\n',
        reporting_currency="USDC",
    )
    assert [each.name for each in (main, hedge, bots)] == ["main", "hedge", "bots"]
    assert (main.reporting, main.cash_assets) == ("USDC", Settings().cash_assets)
    assert (hedge.reporting, hedge.cash_assets) == ("EUR", {"EUR", "USDC"})
    assert (bots.source, bots.api_key) == ("executions", None)


def test_a_file_with_alerts_alone_leaves_the_account_of_the_settings() -> None:
    (account,) = accounts_of("[alerts]\n", account="solo")
    assert account.name == "solo"


def test_keys_are_read_when_they_are_needed_and_their_absence_names_the_account(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (account,) = accounts_of(f"[accounts.main]\n{KEYS}")
    with pytest.raises(RemediableError, match="account main: the environment variable A is not set"):
        account.credentials()
    monkeypatch.setenv("A", "the key")
    with pytest.raises(RemediableError, match=r"account main: the secret in secret\.txt cannot be read \(No such file"):
        account.credentials()
    Path("secret.txt").write_text("the secret\n")
    key, secret = account.credentials()
    assert (key.get_secret_value(), secret.get_secret_value()) == ("the key", "the secret")


def test_accounts_of_the_simulated_exchange_need_no_keys() -> None:
    (account,) = accounts_of('exchange = "simulated"\n[accounts.hedge]\n')
    assert [each.get_secret_value() for each in account.credentials()] == ["hedge-key", "hedge-secret"]
    assert is_simulated(Settings(binance_api_key=SecretStr("k"), binance_secret_key=SecretStr("s")))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[accounts.main\n", "portfolio.toml is not TOML: "),
        ("[accounts.a]\n[accounts.a]\n", "portfolio.toml is not TOML: "),
        ("[accunts.main]\n", "portfolio.toml: there is no key accunts. Correct it; the keys are exchange, accounts"),
        ("[accounts.main]\napikey = 'x'\n", "portfolio.toml, [accounts.main]: there is no key apikey. Correct it; the"),
        ("[accounts.main]\nsource = 'kraken'\n", "portfolio.toml, [accounts.main]: source: input should be 'binance'"),
        ("[accounts.main]\nreporting = 'usdt'\n", "[accounts.main]: reporting: an asset is capital letters"),
        ("[accounts.main]\nreporting = 7\n", "[accounts.main]: reporting: input should be a valid string"),
        ("[accounts.main]\ncash_assets = 'USDT'\n", "[accounts.main]: cash_assets: input should be a valid list"),
        ("[accounts.main]\ncash_assets = ['USDT', 'usd c']\n", "cash_assets: an asset is capital letters"),
        ("[accounts]\nmain = 3\n", "[accounts]: main: input should be a valid dictionary"),
        ("accounts = 3\n", "portfolio.toml: accounts: input should be a valid dictionary"),
        ("exchange = 'kraken'\n", "portfolio.toml: exchange: input should be 'binance' or 'simulated'"),
        ("[accounts.'a b']\n", "[accounts]: 'a b' is not the name of an account. Use up to 100 letters"),
        (f"[accounts.{'a' * 101}]\n", "is not the name of an account"),
        ("[accounts.main]\napi_key = 'env:A'\n", "[accounts.main]: api_key and secret_key belong together. Write both"),
        (
            "[accounts.main]\napi_key = 'vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2'\nsecret_key = 'env:B'\n",
            "[accounts.main]: api_key must not stand in the file itself. Write env:NAME, file:PATH or secret:NAME",
        ),
        ("[accounts.bots]\nsource = 'executions'\n" + KEYS, "[accounts.bots]: an account with source"),
        (f"[accounts.a]\n{KEYS}[accounts.b]\n{KEYS}", "accounts a and b have the same api_key. Follow an account once"),
    ],
)
def test_what_it_cannot_say_is_answered_with_the_place_and_the_remedy(text: str, told: str) -> None:
    message = refusal(text)
    assert told in message
    assert "vmPUZE" not in message


def test_a_file_that_is_no_text_is_refused() -> None:
    Path("portfolio.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RemediableError, match="cannot be read"):
        load_portfolio_file(Settings())


def test_some_of_the_accounts() -> None:
    accounts = accounts_of("exchange = 'simulated'\n[accounts.a]\n[accounts.b]\n[accounts.c]\n")
    assert [each.name for each in select_accounts(accounts, ())] == ["a", "b", "c"]
    assert [each.name for each in select_accounts(accounts, ("c", "a", "c"))] == ["c", "a"]
    with pytest.raises(RemediableError, match=r"there is no account d\. The accounts are a, b, c"):
        select_accounts(accounts, ("d",))


@pytest.mark.parametrize("text", ["", "A", "env:", "env:1A", "env:A B", "file:", "ENV:A", "vault:A"])
def test_what_is_no_reference_is_never_shown(text: str) -> None:
    assert not is_reference(text)
    with pytest.raises(RemediableError) as refused:
        resolve_secret(text)
    assert refused.value.message == "what should be a reference to a secret is none"


def test_a_variable_may_stand_in_the_environment_file() -> None:
    Path(".env").write_text("A=from the file\n")
    assert resolve_secret("env:A").get_secret_value() == "from the file"


@pytest.mark.parametrize(("content", "told"), [(b"", "is empty"), (b"\n", "is empty"), (b"x" * 65_537, "is larger")])
def test_a_secret_file_holds_one_secret(content: bytes, told: str) -> None:
    Path("secret").write_bytes(content)
    with pytest.raises(RemediableError, match=told):
        resolve_secret("file:secret")


def test_a_private_key_keeps_its_lines() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----"
    Path("key.pem").write_text(f"{pem}\n")
    assert resolve_secret("file:key.pem").get_secret_value() == pem


@pytest.mark.parametrize("page", ["gateway.md", "executions.md"])
def test_the_examples_of_the_documentation_can_be_read(page: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / page).read_text(encoding="utf-8")
    for example in re.findall(r"```toml\n(.*?)```", text, re.DOTALL):
        assert {each.name for each in accounts_of(example)} >= {"bots"}
