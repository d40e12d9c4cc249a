"""`portfolio.toml`: the accounts that the service keeps books of.

Without the file, or without accounts in it, there is one account, from the settings. The file holds no secrets, only
references to them (`infra.secrets`), so it can be kept with other configuration.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from infra.errors import RemediableError
from infra.secrets import FORMS, is_reference, resolve_secret
from infra.settings import Settings

ACCOUNT_NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}\Z"
"""Up to 100 letters, digits and `._@-`, beginning with a letter or a digit; what a key of the log may be."""

Source = Literal["binance", "executions"]
Exchange = Literal["binance", "simulated"]
AccountName = Annotated[str, StringConstraints(pattern=ACCOUNT_NAME_PATTERN.replace(r"\Z", "$"))]
Asset = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{1,30}$")]

_SETTING: Final = "PORTFOLIO_CONFIG"


class ApiKey(NamedTuple):
    """What a client signs with."""

    key: SecretStr
    secret: SecretStr
    """The HMAC secret, or an RSA or Ed25519 private key as PEM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountConfig:
    """An account that the service keeps books of.

    Attributes:
        name: Its name, which is the key of its records.
        source: Who has the last word: `binance` (the exchange itself, through the gateway), or `executions` (the bots
            that trade in it, where there is no access to the exchange).
        reporting: Currency in which the books are kept.
        cash_assets: Assets that have cost and gain but open no position.
        api_key: The API key, or a reference to it; None: there is none.
        secret_key: The secret that belongs to it, or a reference to it.
    """

    name: str
    source: Source = "binance"
    reporting: str
    cash_assets: frozenset[str]
    api_key: SecretStr | str | None = None
    secret_key: SecretStr | str | None = None

    def credentials(self) -> ApiKey:
        """The key to read the account with; references are followed now, so a secret that is replaced is found.

        Raises:
            RemediableError: There is none, or a reference leads to nothing.
        """
        if self.api_key is None or self.secret_key is None:
            raise RemediableError(
                f"no API key is set for account {self.name}",
                "Set BINANCE_API_KEY and BINANCE_SECRET_KEY (for the simulated exchange demo-key and demo-secret), "
                f"or api_key and secret_key in [accounts.{self.name}]",
            )
        try:
            return ApiKey(_resolved(self.api_key), _resolved(self.secret_key))
        except RemediableError as error:
            raise RemediableError(f"account {self.name}: {error.message}", error.remedy) from error


def _resolved(secret: SecretStr | str) -> SecretStr:
    return secret if isinstance(secret, SecretStr) else resolve_secret(secret)


class AccountTable(BaseModel):
    """A table `[accounts.NAME]`; what it leaves out is as the settings say."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    source: Source = "binance"
    reporting: Asset | None = None
    cash_assets: list[Asset] | None = None
    api_key: str | None = None
    secret_key: str | None = None

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        keys = {"api_key": self.api_key, "secret_key": self.secret_key}
        given = {name: value for name, value in keys.items() if value is not None}
        if self.source == "executions" and given:
            raise PydanticCustomError("keys", 'an account with source = "executions" has no keys; take them out')
        for name, value in given.items():
            if not is_reference(value):
                raise PydanticCustomError("secret", f"{name} must not stand in the file itself; write {FORMS}")
        if len(given) == 1:
            raise PydanticCustomError("keys", "api_key and secret_key belong together; write both, or neither")
        return self


class PortfolioFile(BaseModel):
    """The file as a whole.

    Attributes:
        exchange: `simulated`: the accounts are on the exchange that `portfolio up` runs, and need no keys.
        accounts: The accounts by name, in the order of the file.
        alerts: The table `[alerts]`.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    exchange: Exchange = "binance"
    accounts: dict[AccountName, AccountTable] = Field(default_factory=dict)
    alerts: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_keys_differ(self) -> Self:
        owners: dict[str, str] = {}
        for name, table in self.accounts.items():
            if table.api_key is None:
                continue
            if (other := owners.setdefault(table.api_key, name)) != name:
                raise PydanticCustomError(
                    "same_key", f"accounts {other} and {name} have the same api_key; follow an account once"
                )
        return self


def load_portfolio_file(settings: Settings) -> PortfolioFile:
    """Read the file that the settings name; empty when there is none and none was asked for.

    Raises:
        RemediableError: It cannot be read, or says something that it cannot; names file, table and key.
    """
    path = settings.portfolio_config.expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if "portfolio_config" not in settings.model_fields_set:
            return PortfolioFile()
        raise RemediableError(f"{path} is not there", f"Write it, or correct {_SETTING}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RemediableError(f"{path} cannot be read ({error})", f"Correct it, or {_SETTING}") from error
    try:
        return PortfolioFile.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RemediableError(f"{path} is not TOML: {error}", "Correct it there; docs/gateway.md has an example") from (
            error
        )
    except ValidationError as error:
        raise _explained(path, error) from error


def load_accounts(settings: Settings) -> tuple[AccountConfig, ...]:
    """The accounts that the service keeps books of, in the order of the file; at least one.

    Raises:
        RemediableError: As `load_portfolio_file`.
    """
    file = load_portfolio_file(settings)
    if not file.accounts:
        return (
            AccountConfig(
                name=settings.account,
                reporting=settings.reporting_currency,
                cash_assets=settings.cash_assets,
                api_key=settings.binance_api_key,
                secret_key=settings.binance_secret_key,
            ),
        )
    return tuple(_account(name, table, file.exchange, settings) for name, table in file.accounts.items())


def is_simulated(settings: Settings) -> bool:
    """Whether the accounts are on the simulated exchange: the file says so, or there is neither a file nor a key.

    Raises:
        RemediableError: As `load_portfolio_file`.
    """
    file = load_portfolio_file(settings)
    return file.exchange == "simulated" if file.accounts else not settings.follows_real_binance


def select_accounts(accounts: Sequence[AccountConfig], names: Sequence[str]) -> tuple[AccountConfig, ...]:
    """The accounts of some names; all of them when none is named.

    Raises:
        RemediableError: There is no account of that name.
    """
    known = {account.name: account for account in accounts}
    for name in names:
        if name not in known:
            raise RemediableError(f"there is no account {name}", f"The accounts are {', '.join(known)}")
    return tuple(known[name] for name in dict.fromkeys(names)) if names else tuple(accounts)


def simulated_key(account: str) -> ApiKey:
    """The key that an account of the simulated exchange has when nobody names another."""
    return ApiKey(SecretStr(f"{account}-key"), SecretStr(f"{account}-secret"))


def _account(name: str, table: AccountTable, exchange: Exchange, settings: Settings) -> AccountConfig:
    api_key: SecretStr | str | None = table.api_key
    secret_key: SecretStr | str | None = table.secret_key
    if exchange == "simulated" and table.source == "binance" and api_key is None:
        api_key, secret_key = simulated_key(name)
    return AccountConfig(
        name=name,
        source=table.source,
        reporting=table.reporting or settings.reporting_currency,
        cash_assets=settings.cash_assets if table.cash_assets is None else frozenset(table.cash_assets),
        api_key=api_key,
        secret_key=secret_key,
    )


def _explained(path: Path, error: ValidationError) -> RemediableError:
    """The first thing that is wrong, without the value: it may be a secret."""
    first = error.errors(include_url=False, include_input=False)[0]
    *tables, key = [part for part in first["loc"] if isinstance(part, str) and part != "[key]"] or [""]
    models: Mapping[int, type[BaseModel]] = {0: PortfolioFile, 2: AccountTable}
    if first["type"] == "extra_forbidden":
        known = ", ".join(models[len(tables)].model_fields) if len(tables) in models else "none"
        return RemediableError(f"{_place(path, tables)}: there is no key {key}", f"Correct it; the keys are {known}")
    remedy = "Correct it there; docs/gateway.md has an example"
    if first["type"] in {"keys", "secret", "same_key"}:
        message, _, remedy = first["msg"].partition("; ")
        return RemediableError(f"{_place(path, [*tables, key])}: {message}", remedy[0].upper() + remedy[1:])
    if "[key]" in first["loc"]:
        return RemediableError(f"{_place(path, tables)}: {key!r} is not the name of an account", _NAMES)
    return RemediableError(f"{_place(path, tables)}: {key}: {_wrong(first)}", remedy)


_NAMES: Final = "Use up to 100 letters, digits and ._@-, beginning with a letter or a digit"


def _wrong(error: ErrorDetails) -> str:
    if error["type"] == "string_pattern_mismatch":
        return "an asset is capital letters and digits, such as USDT"
    return error["msg"][:1].lower() + error["msg"][1:]


def _place(path: Path, tables: Sequence[str]) -> str:
    name = ".".join(each for each in tables if each)
    return f"{path}, [{name}]" if name else str(path)
