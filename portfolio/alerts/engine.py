"""From readings to alerts: raised once, cleared with hysteresis, silenced, acknowledged, and told again where wanted.

The engine knows no clock and does no I/O: time comes with each call, and what changed goes back to the caller, which
publishes it. What it must not forget is in the alerts themselves, so it is restored from what was published.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from portfolio.alerts.conditions import Reading, readings
from portfolio.alerts.durations import duration_us
from portfolio.alerts.rules import Loss, Rule, Severity, kind_of
from portfolio.alerts.views import AccountView
from portfolio.money import ONE, ZERO

_ID_HEX: Final = 12


class AlertStatus(StrEnum):
    """Whether it is over."""

    RAISED = "raised"
    CLEARED = "cleared"


class AlertKey(NamedTuple):
    """What an alert is about; at most one alert about it is open at a time."""

    rule: str
    account: str
    subject: str


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert, as it is after its last change. Times are epoch microseconds."""

    id: str
    rule: str
    kind: str
    severity: Severity
    account: str
    """Empty where it concerns no single account."""
    subject: str
    status: AlertStatus
    text: str
    """What was read when it was raised, or last told."""
    raised_time_us: int
    changed_time_us: int
    cleared_time_us: int | None = None
    silenced: bool = False
    """Whether a silence keeps it from being told."""
    acknowledged_by: str = ""
    acknowledged_time_us: int | None = None
    told_time_us: int | None = None
    """When it was last to be told; None: never, for a silence."""
    tell: bool = False
    """Whether this change is to be told."""
    targets: tuple[str, ...] = ()
    """Names of those who are told; empty: everybody."""

    @property
    def key(self) -> AlertKey:
        """What it is about."""
        return AlertKey(self.rule, self.account, self.subject)

    @property
    def is_open(self) -> bool:
        """Whether it is not cleared."""
        return self.status is AlertStatus.RAISED


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody does not want to be told for a while. What is empty stands for all."""

    id: str
    rule: str = ""
    account: str = ""
    until_us: int
    by: str
    reason: str = ""
    time_us: int

    def covers(self, key: AlertKey, now_us: int) -> bool:
        """Whether an alert is silenced by it."""
        return now_us < self.until_us and self.rule in {"", key.rule} and self.account in {"", key.account}


def alert_id(key: AlertKey, raised_time_us: int) -> str:
    """A short name for an alert, the same whoever raises it."""
    text = "\0".join((*key, str(raised_time_us)))
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_HEX]


class AlertEngine:
    """Watches accounts by rules."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        """Start with no alert open.

        Args:
            rules: The rules by name.
        """
        self._rules = dict(rules)
        self._open: dict[AlertKey, Alert] = {}
        self._silences: dict[str, Silence] = {}
        self._over_since: dict[AlertKey, int] = {}
        self._under_since: dict[AlertKey, int] = {}

    @property
    def open_alerts(self) -> tuple[Alert, ...]:
        """The alerts that are not cleared."""
        return tuple(self._open.values())

    @property
    def periods(self) -> frozenset[str]:
        """The periods of which losses are looked at."""
        return frozenset(rule.period for rule in self._rules.values() if isinstance(rule, Loss) and rule.enabled)

    def use_rules(self, rules: Mapping[str, Rule]) -> None:
        """Go on with other rules. An alert whose rule is gone is cleared when its account is next looked at."""
        self._rules = dict(rules)

    def restore(self, alert: Alert) -> None:
        """Take in an alert that was published before, in the order of publication."""
        if alert.is_open:
            self._open[alert.key] = alert
        else:
            self._open.pop(alert.key, None)

    def silence(self, silence: Silence) -> None:
        """Take in a silence, or another end of one."""
        self._silences[silence.id] = silence

    def acknowledge(self, wanted: str, by: str, time_us: int) -> list[Alert]:
        """Note that somebody takes care of an alert: it is not told again.

        Args:
            wanted: Id of the alert.
            by: Who.
            time_us: When.

        Returns:
            The alert as it is now; empty when no such alert is open, or it was acknowledged before.
        """
        for key, alert in self._open.items():
            if alert.id == wanted and not alert.acknowledged_by:
                self._open[key] = replace(
                    alert, acknowledged_by=by, acknowledged_time_us=time_us, changed_time_us=time_us, tell=False
                )
                return [self._open[key]]
        return []

    def evaluate(self, view: AccountView, now_us: int) -> list[Alert]:
        """Look at an account.

        Args:
            view: What is known of it.
            now_us: The time, epoch microseconds.

        Returns:
            The alerts that changed, as they are now.
        """
        changed: list[Alert] = []
        seen: set[AlertKey] = set()
        for name, rule in self._rules.items():
            if rule.concerns(view.account):
                for reading in readings(rule, view, now_us):
                    key = AlertKey(name, view.account, reading.subject)
                    seen.add(key)
                    changed += self._step(key, rule, reading, now_us)
        unseen = {key for key in (*self._open, *self._over_since) if key.account == view.account} - seen
        for key in sorted(unseen):
            changed += self._step_unseen(key, now_us)
        return changed

    def _step(self, key: AlertKey, rule: Rule, reading: Reading, now_us: int) -> list[Alert]:
        alert = self._open.get(key)
        if alert is None:
            return self._step_closed(key, rule, reading, now_us)
        if reading.level < rule.clear_at:
            since_us = self._under_since.setdefault(key, now_us)
            if now_us - since_us >= duration_us(rule.clear_hold):
                return [self._clear(alert, now_us, reading.text)]
            return []
        self._under_since.pop(key, None)
        if reading.level >= ONE:
            return self._tell_again(alert, rule, reading.text, now_us)
        return []

    def _step_closed(self, key: AlertKey, rule: Rule, reading: Reading, now_us: int) -> list[Alert]:
        if reading.level < ONE:
            self._over_since.pop(key, None)
            return []
        since_us = self._over_since.setdefault(key, now_us)
        if now_us - since_us < duration_us(rule.hold):
            return []
        del self._over_since[key]
        silenced = self._is_silenced(key, now_us)
        self._open[key] = Alert(
            id=alert_id(key, now_us),
            rule=key.rule,
            kind=kind_of(rule),
            severity=rule.severity,
            account=key.account,
            subject=key.subject,
            status=AlertStatus.RAISED,
            text=reading.text,
            raised_time_us=now_us,
            changed_time_us=now_us,
            silenced=silenced,
            told_time_us=None if silenced else now_us,
            tell=not silenced,
            targets=rule.targets,
        )
        return [self._open[key]]

    def _step_unseen(self, key: AlertKey, now_us: int) -> list[Alert]:
        """What is read no more is well; a rule that is gone needs no hold."""
        self._over_since.pop(key, None)
        alert = self._open.get(key)
        if alert is None:
            return []
        rule = self._rules.get(key.rule)
        if rule is None or not rule.concerns(key.account):
            return [self._clear(alert, now_us, f"no rule looks at it any more; it was: {alert.text}")]
        return self._step(key, rule, Reading(key.subject, ZERO, f"it is so no more; it was: {alert.text}"), now_us)

    def _clear(self, alert: Alert, now_us: int, text: str) -> Alert:
        key = alert.key
        del self._open[key]
        self._under_since.pop(key, None)
        silenced = self._is_silenced(key, now_us)
        return replace(
            alert,
            status=AlertStatus.CLEARED,
            text=text,
            changed_time_us=now_us,
            cleared_time_us=now_us,
            silenced=silenced,
            # Who was never told that it began need not hear that it is over.
            tell=alert.told_time_us is not None and not silenced,
        )

    def _tell_again(self, alert: Alert, rule: Rule, text: str, now_us: int) -> list[Alert]:
        """Tell what a silence kept back, and remind of what nobody has acknowledged."""
        silenced = self._is_silenced(alert.key, now_us)
        told_us = alert.told_time_us
        is_due = told_us is None or (
            bool(rule.remind) and not alert.acknowledged_by and now_us - told_us >= duration_us(rule.remind)
        )
        if silenced or not is_due:
            if silenced == alert.silenced:
                return []
            self._open[alert.key] = replace(alert, silenced=silenced, changed_time_us=now_us, tell=False)
        else:
            self._open[alert.key] = replace(
                alert, silenced=False, text=text, changed_time_us=now_us, told_time_us=now_us, tell=True
            )
        return [self._open[alert.key]]

    def _is_silenced(self, key: AlertKey, now_us: int) -> bool:
        return any(silence.covers(key, now_us) for silence in self._silences.values())
