"""Which records tell the audit trail something, and what."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

from portfolio.alerts.engine import Alert, AlertEngine, Silence
from portfolio.alerts.rules import Drawdown
from portfolio.alerts.views import AccountView
from portfolio.audit import AuditKind
from portfolio.events import FlowKind, Reclassification
from streams.alerts.records import AcknowledgementRecord, AlertRecord, AlertTopicRecord, SilenceRecord, alert_output
from streams.audit import changes_of_alerts, corrections
from tests.support.worker import TIME_US, fill, record


def on_topic(value: bytes | None, topic: str = "portfolio.account-events") -> Any:
    return SimpleNamespace(topic=topic, partition=3, offset=17, value=value)


def entries(told: AlertTopicRecord) -> list[tuple[str, str, str]]:
    found = list(changes_of_alerts(on_topic(alert_output(told, 8).value, "portfolio.alerts")))
    assert all(entry.kind is AuditKind.ALERT and entry.id == "portfolio.alerts:3:17" for entry in found)
    return [(entry.action, entry.actor, entry.subject) for entry in found]


def raised() -> Alert:
    engine = AlertEngine({"deep": Drawdown(percent=Decimal(10))})
    [alert] = engine.evaluate(AccountView(account="main", drawdown=Decimal("-0.2")), 5)
    return alert


def test_an_alert_is_in_the_trail_when_it_is_raised_and_when_it_is_cleared() -> None:
    alert = raised()
    assert entries(AlertRecord(alert=alert)) == [("raised", "alerts", alert.id)]
    # Told again, or acknowledged: that is told by another record, or by none.
    assert entries(AlertRecord(alert=replace(alert, changed_time_us=9, told_time_us=9))) == []
    engine = AlertEngine({"deep": Drawdown(percent=Decimal(10))})
    engine.restore(alert)
    [cleared] = engine.evaluate(AccountView(account="main"), 9)
    assert entries(AlertRecord(alert=cleared)) == [("cleared", "alerts", alert.id)]


def test_who_acknowledged_and_who_silenced_is_in_the_trail() -> None:
    assert entries(AcknowledgementRecord(alert_id="a", by="anna", time_us=1)) == [("acknowledged", "anna", "a")]
    silence = Silence(id="deep:all", rule="deep", until_us=9, by="berta", time_us=1)
    assert entries(SilenceRecord(silence=silence)) == [("silenced", "berta", "deep:all")]


def test_what_is_no_record_tells_nothing() -> None:
    for value in (None, b"", b"\xff", b'{"schema": "alert"}', b"[" * 100_000):
        assert list(changes_of_alerts(on_topic(value, "portfolio.alerts"))) == []
        assert list(corrections(on_topic(value))) == []
    assert list(corrections(on_topic(b'{"author": 1}'))) == []


def test_what_the_exchange_reported_is_no_correction_and_what_somebody_wrote_is() -> None:
    correction = Reclassification(time_us=TIME_US, id="r", flow_id="f-1", kind=FlowKind.REWARD, author="anna")
    named_author = replace(fill(1), strategy='"author"')
    assert list(corrections(on_topic(record("main", named_author)))) == []
    [entry] = corrections(on_topic(record("main", fill(1), correction)))
    assert (entry.action, entry.actor, entry.account, entry.subject) == ("reclassification", "anna", "main", "f-1")
    assert entry.id == "portfolio.account-events:3:17:1"
    assert entry.details["kind"] == "reward"
