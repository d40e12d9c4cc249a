"""Every setting of the service, in one typed place.

A setting is an environment variable (or a line in `.env`). `portfolio config` prints the values in force, with
secrets masked. Unset server addresses mean the embedded stack on this machine.
"""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from infra.core_dumps import forbid_core_dumps
from infra.errors import RemediableError

_RETENTION_DAYS_MIN = 0.01
_RETENTION_DAYS_MAX = 36_500.0

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LogFormat = Literal["text", "json"]


def _named(name: str) -> AliasChoices:
    return AliasChoices(name, name.lower())


class Settings(BaseSettings):
    """The settings of every process of the service."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True
    )

    # -- Binance
    binance_api_key: SecretStr | None = Field(None, description="API key of the account; read-only is enough.")
    binance_secret_key: SecretStr | None = Field(
        None, description="Secret of the API key: HMAC, or an RSA or Ed25519 private key as PEM or as a .pem file."
    )
    binance_key_passphrase: SecretStr | None = Field(None, description="Passphrase of private keys that have one.")
    binance_rest_url: str = Field("https://api.binance.com", description="Base address of the REST API.")
    binance_ws_api_url: str = Field(
        "wss://ws-api.binance.com:443/ws-api/v3", description="Address of the WebSocket API (user data)."
    )
    binance_stream_url: str = Field("wss://stream.binance.com:9443", description="Base address of the market streams.")
    binance_weight_share: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Part of the exchange's limits that this process uses; divide it among those behind one address.",
    )
    binance_stream_age_max_s: float = Field(
        82_800.0,
        gt=0,
        le=86_000,
        description="Age at which a user data stream is replaced by a new one; the exchange ends it after 24 hours.",
    )
    binance_streams_per_connection: int = Field(
        200, ge=1, le=1_024, description="Symbols whose prices share one connection to the market streams."
    )
    binance_catalogue_interval_s: float = Field(
        300.0, gt=0, description="Time between readings of the symbols, which show what is listed, halted and delisted."
    )
    key_permissions: Literal["warn", "refuse"] = Field(
        "warn",
        validation_alias=_named("PORTFOLIO_KEY_PERMISSIONS"),
        description="An API key that may do more than read is named in a warning, or refused.",
    )

    # -- servers
    kafka_brokers: str | None = Field(None, description="host:port[,host:port]; unset: the embedded broker.")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the brokers."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="SASL mechanism, for the SASL protocols."
    )
    kafka_sasl_username: str | None = Field(None, description="SASL user.")
    kafka_sasl_password: SecretStr | None = Field(None, description="SASL password.")
    kafka_ssl_cafile: Path | None = Field(None, description="CA bundle for TLS; unset: the system's.")
    database_url: SecretStr | None = Field(
        None, description="postgresql://user:password@host:port/name; unset: the embedded Postgres."
    )
    database_read_url: SecretStr | None = Field(
        None,
        description="Postgres that the API reads: a role that may only read, or a replica; unset: the database of "
        "DATABASE_URL; embedded: its role portfolio_reader.",
    )
    redis_url: SecretStr | None = Field(
        None, description="redis://[:password@]host:port/db; unset: the embedded Redis."
    )

    # -- accounting
    portfolio_config: Path = Field(
        Path("portfolio.toml"),
        validation_alias=_named("PORTFOLIO_CONFIG"),
        description="File that names several accounts; without it there is one, from the settings here.",
    )
    account: str = Field(
        "main", validation_alias=_named("PORTFOLIO_ACCOUNT"), description="Name of the account that is followed."
    )
    reporting_currency: str = Field(
        "USDT", validation_alias=_named("PORTFOLIO_REPORTING"), description="Currency in which the books are kept."
    )
    cash_assets: Annotated[frozenset[str], NoDecode] = Field(
        frozenset({"USDT", "USDC", "FDUSD", "TUSD", "USDP", "DAI", "BUSD"}),
        validation_alias=_named("PORTFOLIO_CASH_ASSETS"),
        description="Assets that have cost and gain but open no position, comma-separated.",
    )
    benchmarks: Annotated[frozenset[str], NoDecode] = Field(
        frozenset({"BTC"}),
        validation_alias=_named("PORTFOLIO_BENCHMARKS"),
        description="Assets that accounts are compared with, comma-separated: their prices are recorded also while "
        "nobody holds them; a comma alone: none.",
    )

    # -- executions announced by bots
    execution_streams: Annotated[frozenset[str], NoDecode] = Field(
        frozenset({"portfolio:executions"}),
        validation_alias=_named("PORTFOLIO_EXECUTION_STREAMS"),
        description="Redis Streams on which bots announce executions, comma-separated; a comma alone: none.",
    )
    execution_channels: Annotated[frozenset[str], NoDecode] = Field(
        frozenset({"roottrading:cycle:*", "roottrading:order:*"}),
        validation_alias=_named("PORTFOLIO_EXECUTION_CHANNELS"),
        description="Patterns of Redis Pub/Sub channels for the same, comma-separated; a comma alone: none.",
    )

    execution_grace_s: float = Field(
        30.0,
        gt=0,
        validation_alias=_named("PORTFOLIO_EXECUTION_GRACE_S"),
        description="How long a fill may come after its execution, or the other way round, before it is told.",
    )

    # -- pipeline
    partitions: int = Field(
        8,
        ge=1,
        le=1024,
        validation_alias=_named("PORTFOLIO_PARTITIONS"),
        description="Partitions of the input topics and the books; set once, before the first start.",
    )
    replication_factor: int | None = Field(
        None,
        ge=1,
        le=15,
        validation_alias=_named("PORTFOLIO_REPLICATION_FACTOR"),
        description="Copies of each topic on the brokers; unset: 3, or as many as there are brokers.",
    )
    standby_replicas: int = Field(
        1,
        ge=0,
        le=16,
        validation_alias=_named("PORTFOLIO_STANDBY_REPLICAS"),
        description="Other workers that keep a current copy of each table partition; 0: none, slower failover.",
    )
    retention_days: Annotated[dict[str, float], NoDecode] = Field(
        {},
        validation_alias=_named("PORTFOLIO_RETENTION_DAYS"),
        description="How long topics are kept where it is not the default, as journal=14,dead-letters=90.",
    )
    pnl_interval_s: float = Field(
        1.0,
        gt=0,
        validation_alias=_named("PORTFOLIO_PNL_INTERVAL_S"),
        description="At most one pnl record an account in this time when only marks moved.",
    )
    valuation_interval_s: float = Field(
        300.0,
        gt=0,
        validation_alias=_named("PORTFOLIO_VALUATION_INTERVAL_S"),
        description="Time between valuation points on the log, each with its PnL; one is always taken at UTC midnight.",
    )
    position_interval_s: float = Field(
        60.0,
        gt=0,
        validation_alias=_named("PORTFOLIO_POSITION_INTERVAL_S"),
        description="Time between two tellings of an account's open positions with their values.",
    )
    performance_interval_s: float = Field(
        3600.0,
        gt=0,
        validation_alias=_named("PORTFOLIO_PERFORMANCE_INTERVAL_S"),
        description="Time between two computations of an account's performance figures.",
    )
    balance_sync_interval_s: float = Field(
        30.0,
        gt=0,
        validation_alias=_named("PORTFOLIO_BALANCE_SYNC_INTERVAL_S"),
        description="Time between balance syncs with the exchange.",
    )
    flow_sync_interval_s: float = Field(
        3_600.0,
        gt=0,
        validation_alias=_named("PORTFOLIO_FLOW_SYNC_INTERVAL_S"),
        description="Time between readings of the histories of deposits, conversions and other flows.",
    )

    # -- this machine
    data_dir: Path = Field(
        Path(".portfolio"),
        validation_alias=_named("PORTFOLIO_DATA_DIR"),
        description="Where the embedded stack and the workers keep their data.",
    )
    secrets_file: Path = Field(
        Path.home() / ".config" / "portfolio-service" / "secrets.json",
        validation_alias=_named("PORTFOLIO_SECRETS_FILE"),
        description="Where `portfolio secrets` keeps them, encrypted.",
    )
    master_key: str = Field(
        "file:~/.config/portfolio-service/master.key",
        validation_alias=_named("PORTFOLIO_MASTER_KEY"),
        description="Where their master key is: file:PATH, env:NAME or keyring (the operating system's).",
    )
    cache_dir: Path = Field(
        Path.home() / ".cache" / "portfolio-service",
        validation_alias=_named("PORTFOLIO_CACHE_DIR"),
        description="Where verified downloads are kept.",
    )
    maven_url: str | None = Field(
        None,
        validation_alias=_named("PORTFOLIO_MAVEN_URL"),
        description="Maven repository that the Kafka jars come from; unset: Maven Central.",
    )
    kafka_port: int = Field(19092, validation_alias=_named("PORTFOLIO_KAFKA_PORT"), description="Embedded Kafka.")
    postgres_port: int = Field(
        15432, validation_alias=_named("PORTFOLIO_POSTGRES_PORT"), description="Embedded Postgres."
    )
    redis_port: int = Field(16379, validation_alias=_named("PORTFOLIO_REDIS_PORT"), description="Embedded Redis.")
    exchange_port: int = Field(
        18080, validation_alias=_named("PORTFOLIO_EXCHANGE_PORT"), description="Simulated exchange."
    )
    host: str = Field("127.0.0.1", validation_alias=_named("PORTFOLIO_HOST"), description="Address the API listens on.")
    port: int = Field(8000, validation_alias=_named("PORTFOLIO_PORT"), description="Port the API listens on.")
    tls_certificate: Path | None = Field(
        None,
        validation_alias=_named("PORTFOLIO_TLS_CERTIFICATE"),
        description="Certificate chain (PEM) with which the API speaks TLS; unset: it does not.",
    )
    tls_key: Path | None = Field(
        None, validation_alias=_named("PORTFOLIO_TLS_KEY"), description="Private key of the certificate (PEM)."
    )
    api_rate_per_minute: int = Field(
        6_000,
        ge=0,
        validation_alias=_named("PORTFOLIO_API_RATE_PER_MINUTE"),
        description="Requests that one key may make in a minute; 0: any number.",
    )
    cors_origins: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(),
        validation_alias=_named("PORTFOLIO_CORS_ORIGINS"),
        description="Origins whose pages may read the API from a browser, comma-separated; none by default.",
    )
    oidc_issuer: str | None = Field(
        None,
        validation_alias=_named("PORTFOLIO_OIDC_ISSUER"),
        description="OpenID Connect provider whose tokens the API accepts; unset: none.",
    )
    oidc_audience: str = Field(
        "portfolio",
        validation_alias=_named("PORTFOLIO_OIDC_AUDIENCE"),
        description="What such a token must name as its audience.",
    )
    oidc_scope_claim: str = Field(
        "scope",
        validation_alias=_named("PORTFOLIO_OIDC_SCOPE_CLAIM"),
        description="Its claim with the scopes: portfolio:read, admin:read.",
    )
    oidc_accounts_claim: str = Field(
        "",
        validation_alias=_named("PORTFOLIO_OIDC_ACCOUNTS_CLAIM"),
        description="Its claim with the accounts that it may see; unset: all of them.",
    )
    log_level: LogLevel = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    log_format: LogFormat = Field(
        "text",
        validation_alias=_named("PORTFOLIO_LOG_FORMAT"),
        description="text for people, or json: one object a line, for whatever collects them.",
    )
    otlp_endpoint: str | None = Field(
        None,
        validation_alias=_named("OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="OpenTelemetry collector that traces are sent to, as http://host:4318; unset: none are made.",
    )

    @field_validator("cash_assets", "benchmarks", mode="before")
    @classmethod
    def _split_assets(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(asset.strip().upper() for asset in value.split(",") if asset.strip())
        return value

    @field_validator("execution_streams", "execution_channels", "cors_origins", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("retention_days", mode="before")
    @classmethod
    def _split_days(cls, value: object) -> object:
        if isinstance(value, str):
            pairs = (part.partition("=") for part in value.split(",") if part.strip())
            return {name.strip(): days.strip() for name, _, days in pairs}
        return value

    @field_validator("retention_days")
    @classmethod
    def _require_days(cls, value: dict[str, float]) -> dict[str, float]:
        for name, days in value.items():
            if not _RETENTION_DAYS_MIN <= days <= _RETENTION_DAYS_MAX:
                raise ValueError(f"{name} must be kept for {_RETENTION_DAYS_MIN:g} to {_RETENTION_DAYS_MAX:g} days")
        return value

    @property
    def brokers(self) -> str:
        """The brokers to connect to: those that are set, or the embedded one. `host:port[,host:port]`."""
        return self.kafka_brokers or f"127.0.0.1:{self.kafka_port}"

    @property
    def database_dsn(self) -> str:
        """The Postgres to connect to: the one that is set, or the embedded one."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"postgresql://portfolio@127.0.0.1:{self.postgres_port}/portfolio"

    @property
    def database_read_dsn(self) -> str:
        """The Postgres that the API reads."""
        if self.database_read_url is not None:
            return self.database_read_url.get_secret_value()
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"postgresql://portfolio_reader@127.0.0.1:{self.postgres_port}/portfolio"

    @property
    def secrets_path(self) -> Path:
        """Where the encrypted secrets are."""
        return self.secrets_file.expanduser()

    @property
    def redis_dsn(self) -> str:
        """The Redis to connect to: the one that is set, or the embedded one."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        return f"redis://127.0.0.1:{self.redis_port}/0"

    @property
    def follows_real_binance(self) -> bool:
        """Whether both keys of a real account are set."""
        return self.binance_api_key is not None and self.binance_secret_key is not None


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """Read the settings once a process, from the environment and `.env`; from then on it leaves no core.

    Raises:
        RemediableError: A setting has a value that it cannot have; the value is not shown, it may be a secret.
    """
    # Secrets come in here, whatever the process is.
    forbid_core_dumps()
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "a setting"
        remedy = "Correct the environment variable, or its line in .env"
        raise RemediableError(f"{name}: {first['msg'].lower()}", remedy) from error
