"""The rules: when somebody is to be told, as a person writes it down.

A rule has a kind, which says what it looks at, and a threshold. It is over when what it looks at has reached the
threshold, and under when that has come back below `clear_at` times the threshold; between the two nothing changes.
Amounts are in the account's reporting currency.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final, TypeAlias

import msgspec

from portfolio.alerts.durations import duration_us
from portfolio.errors import InvalidRule
from portfolio.money import ONE, ZERO, checked, plain

HUNDRED: Final = Decimal(100)

UTC_DAY: Final = "day"
"""As the period of a rule: since the last midnight, UTC."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}\Z")]
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Severity(StrEnum):
    """How bad it is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class _Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every rule has.

    Attributes:
        accounts: The accounts it is for; empty: every account.
        severity: How bad it is.
        hold: How long it must be over before somebody is told.
        clear_hold: How long it must be under before it is cleared.
        clear_at: The part of the threshold below which it counts as under, above 0 and up to 1.
        remind: Tell again after this time while it is neither cleared nor acknowledged; empty: once is enough.
        targets: Names of those who are told; empty: all targets.
        enabled: Whether it is looked at.
    """

    accounts: tuple[str, ...] = ()
    severity: Severity = Severity.WARNING
    hold: str = "0s"
    clear_hold: str = "0s"
    clear_at: Decimal = Decimal("0.8")
    remind: str = ""
    targets: tuple[str, ...] = ()
    enabled: bool = True

    def __post_init__(self) -> None:
        for span in (self.hold, self.clear_hold, *([self.remind] if self.remind else [])):
            duration_us(span)
        if not ZERO < checked(self.clear_at) <= ONE:
            raise InvalidRule(f"clear_at is {self.clear_at}; it must be above 0 and at most 1")

    @property
    def told(self) -> str:
        """The rule in a sentence, without its name."""
        raise NotImplementedError

    def concerns(self, account: str) -> bool:
        """Whether it is for the account."""
        return self.enabled and (not self.accounts or account in self.accounts)


class Loss(_Rule, frozen=True, kw_only=True, tag="loss"):
    """Total pnl fell within a period, by an amount or by a percentage of the equity at its beginning.

    Deposits and withdrawals are no pnl. `period` is a span of time up to now, or `day`: since midnight, UTC.
    """

    period: str = "24h"
    amount: Decimal | None = None
    percent: Decimal | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.period != UTC_DAY and not duration_us(self.period):
            raise InvalidRule("a period of 0s has no loss; write a span such as 24h, or day")
        _require_one(amount=self.amount, percent=self.percent)

    @property
    def told(self) -> str:
        """The rule in a sentence, without its name."""
        limits = _or(_money(self.amount), _percent(self.percent, "of equity"))
        since = "since midnight UTC" if self.period == UTC_DAY else f"within {self.period}"
        return f"total pnl fell by {limits} or more {since}"


class Drawdown(_Rule, frozen=True, kw_only=True, tag="drawdown"):
    """The time-weighted return index is below its peak by a percentage of it."""

    percent: Decimal

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_positive(percent=self.percent)

    @property
    def told(self) -> str:
        """The rule in a sentence, without its name."""
        return f"the return index is {_percent(self.percent, 'or more below its peak')}"


class PositionLimit(_Rule, frozen=True, kw_only=True, tag="position_limit"):
    """A holding is worth too much, in the reporting currency or as a share of equity.

    `assets` are those that are looked at; empty: every asset but the reporting currency.
    """

    assets: tuple[str, ...] = ()
    value: Decimal | None = None
    percent: Decimal | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_one(value=self.value, percent=self.percent)

    @property
    def told(self) -> str:
        """The rule in a sentence, without its name."""
        which = f"the holding of {', '.join(self.assets)}" if self.assets else "a holding"
        return f"{which} is worth {_or(_money(self.value), _percent(self.percent, 'of equity'))} or more"


class SyncFailures(_Rule, frozen=True, kw_only=True, tag="sync_failures"):
    """The gateway lost its connection or failed to sync again and again."""

    failures: Count = 3
    period: str = "10m"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_span(self.period)

    @property
    def told(self) -> str:
        """The rule in a sentence, without its name."""
        return f"{self.failures} or more connections or syncs of the gateway failed within {self.period}"


class BalanceAnomaly(_Rule, frozen=True, kw_only=True, tag="balance_anomaly"):
    """A balance moved that no trade and no known flow explains; it was booked as an unclassified flow.

    The exchange tells of some flows only minutes later what they were, so by default it must be so for five minutes.
    """

    value: Decimal = ZERO
    forget: str = "24h"
    hold: str = "5m"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_span(self.forget)
        _require_at_least_zero(value=self.value)

    @property
    def told(self) -> str:
        """The rule in a sentence, without its name."""
        return f"a balance moved by {_money(self.value)} or more that nothing explains, unclassified for {self.forget}"


class StaleData(_Rule, frozen=True, kw_only=True, tag="stale_data"):
    """Nothing new was heard of an account: no event, no price."""

    after: str = "2m"
    hold: str = "60s"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_span(self.after)

    @property
    def told(self) -> str:
        """The rule in a sentence, without its name."""
        return f"nothing new was heard of the account for {self.after}"


class Reconciliation(_Rule, frozen=True, kw_only=True, tag="reconciliation"):
    """The ledger and the exchange disagree about a balance, by at least a value."""

    value: Decimal = ZERO
    hold: str = "60s"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_at_least_zero(value=self.value)

    @property
    def told(self) -> str:
        """The rule in a sentence, without its name."""
        return f"ledger and exchange differ by {_money(self.value)} or more in an asset"


class MissingAcquisition(_Rule, frozen=True, kw_only=True, tag="missing_acquisition"):
    """Something was sold that no event explains; it was costed at its market value."""

    value: Decimal = ZERO
    forget: str = "7d"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_span(self.forget)
        _require_at_least_zero(value=self.value)

    @property
    def told(self) -> str:
        """The rule in a sentence, without its name."""
        return (
            f"something worth {_money(self.value)} or more went out that nothing brought in, and its cost was not "
            f"adjusted for {self.forget}"
        )


class DeadLetters(_Rule, frozen=True, kw_only=True, tag="dead_letters"):
    """Records could not be read or booked."""

    count: Count = 1
    period: str = "1h"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_span(self.period)

    @property
    def told(self) -> str:
        """The rule in a sentence, without its name."""
        return f"{self.count} or more records could not be read or booked within {self.period}"


class PnlAnomaly(_Rule, frozen=True, kw_only=True, tag="pnl_anomaly"):
    """Total pnl jumped further than its recent changes let expect: a wrong price, or a fill that is none.

    `deviations` are of the median absolute deviation of the changes of a minute over the last hour, scaled to be a
    standard deviation where they are normal; `percent` of equity is the least that counts as a jump.
    """

    deviations: Decimal = Decimal(10)
    percent: Decimal = Decimal(2)
    clear_hold: str = "1h"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_positive(deviations=self.deviations, percent=self.percent)

    @property
    def told(self) -> str:
        """The rule in a sentence, without its name."""
        return (
            f"total pnl jumped by {_percent(self.percent, 'of equity or more')}, and by {plain(self.deviations)} or "
            "more deviations of its last changes"
        )


class UnmatchedExecution(_Rule, frozen=True, kw_only=True, tag="unmatched_execution"):
    """What a bot announced and what the exchange reported do not fit together."""

    count: Count = 1

    @property
    def told(self) -> str:
        """The rule in a sentence, without its name."""
        return f"{self.count} or more executions of bots and fills of the exchange do not fit together"


class PriceSources(_Rule, frozen=True, kw_only=True, tag="price_sources"):
    """The streamed price of an asset and the one polled over REST differ by a percentage."""

    percent: Decimal = Decimal(1)
    hold: str = "60s"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_positive(percent=self.percent)

    @property
    def told(self) -> str:
        """The rule in a sentence, without its name."""
        return f"the streamed price of an asset is {_percent(self.percent, 'or more')} off the polled one"


Rule: TypeAlias = (
    Loss
    | Drawdown
    | PositionLimit
    | SyncFailures
    | BalanceAnomaly
    | StaleData
    | Reconciliation
    | MissingAcquisition
    | DeadLetters
    | PnlAnomaly
    | UnmatchedExecution
    | PriceSources
)

KINDS: Final[dict[str, type[Rule]]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (
        *(Loss, Drawdown, PositionLimit, SyncFailures, BalanceAnomaly, StaleData, Reconciliation),
        *(MissingAcquisition, DeadLetters, PnlAnomaly, UnmatchedExecution, PriceSources),
    )
}
"""Every kind of rule by its name in the file."""


def kind_of(rule: Rule) -> str:
    """The rule's kind, as it is written in the file."""
    return str(rule.__struct_config__.tag)


def _require_one(**limits: Decimal | None) -> None:
    given = {name: limit for name, limit in limits.items() if limit is not None}
    if not given:
        raise InvalidRule(f"it has no threshold; write {' or '.join(limits)}, or both")
    _require_positive(**given)


def _require_positive(**limits: Decimal) -> None:
    for name, limit in limits.items():
        if checked(limit) <= ZERO:
            raise InvalidRule(f"{name} is {limit}; it must be above 0")


def _require_at_least_zero(**limits: Decimal) -> None:
    for name, limit in limits.items():
        if checked(limit) < ZERO:
            raise InvalidRule(f"{name} is {limit}; it must be 0 or more")


def _require_span(text: str) -> None:
    if not duration_us(text):
        raise InvalidRule("a span of 0s is none; write one such as 10m")


def _money(amount: Decimal | None) -> str:
    return "" if amount is None else "any value" if amount == ZERO else plain(amount)


def _percent(percent: Decimal | None, of: str) -> str:
    return "" if percent is None else f"{plain(percent)}% {of}"


def _or(*limits: str) -> str:
    return " or ".join(limit for limit in limits if limit)
