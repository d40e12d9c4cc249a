"""From what the service keeps of itself to what `/admin` answers."""

from collections.abc import Mapping

from api import schemas
from infra.postgres.audit_reader import AuditLine
from infra.postgres.letters import LetterLine
from infra.settings_table import SettingRow
from portfolio.alerts.engine import Alert

_LETTERS_TOPIC = "portfolio.dead-letters"


def sync_state(account: str, fields: Mapping[str, str], *, agrees: bool | None) -> schemas.SyncState:
    """How an account keeps up.

    Args:
        account: Its name.
        fields: What its gateway last told; empty: nothing.
        agrees: Whether ledger and exchange agree.
    """
    return schemas.SyncState(
        account=account,
        state=fields.get("state"),
        problem=fields.get("problem", ""),
        heartbeat=_time(fields, "heartbeat_time_us"),
        last_sync=_time(fields, "last_sync_time_us"),
        last_event=_time(fields, "last_event_time_us"),
        sync_errors=_count(fields, "sync_errors"),
        handovers=_count(fields, "handovers"),
        unread_events=_count(fields, "unread_events"),
        backfill_phase=fields.get("backfill_phase", ""),
        backfill_events=_count(fields, "backfill_events"),
        backfill_percent=float(fields.get("backfill_percent", "0")),
        backfill_end=_time(fields, "backfill_end_time_us"),
        unclassified_flows=_count(fields, "unclassified_flows"),
        histories_problem=fields.get("histories_problem", ""),
        weight_used=_count(fields, "weight_used"),
        agrees=agrees,
    )


def setting(row: SettingRow) -> schemas.Setting:
    """A setting."""
    return schemas.Setting(variable=row.variable, value=row.value, default=row.default, meaning=row.meaning)


def audit_line(line: AuditLine) -> schemas.AuditLine:
    """An entry of the audit trail."""
    entry = line.entry
    return schemas.AuditLine(
        offset=line.offset,
        time=entry.time_us,
        kind=entry.kind.value,
        action=entry.action,
        actor=entry.actor,
        account=entry.account,
        subject=entry.subject,
        details=entry.details,
        hash=line.hash,
    )


def alert_line(alert: Alert) -> schemas.AlertLine:
    """An alert."""
    return schemas.AlertLine(
        id=alert.id,
        rule=alert.rule,
        kind=alert.kind,
        severity=alert.severity.value,
        account=alert.account,
        subject=alert.subject,
        status=alert.status.value,
        text=alert.text,
        raised=alert.raised_time_us,
        changed=alert.changed_time_us,
        cleared=alert.cleared_time_us,
        silenced=alert.silenced,
        acknowledged_by=alert.acknowledged_by,
    )


def dead_letter_line(line: LetterLine) -> schemas.DeadLetterLine:
    """A dead letter."""
    return schemas.DeadLetterLine(
        id=f"{_LETTERS_TOPIC}:{line.letter_partition}:{line.letter_offset}",
        time=line.time_us,
        source=f"{line.topic}:{line.partition}:{line.log_offset}",
        key=line.key,
        bytes=line.bytes,
        reason=line.reason,
    )


def _count(fields: Mapping[str, str], name: str) -> int:
    text = fields.get(name, "")
    return int(text) if text.isdigit() else 0


def _time(fields: Mapping[str, str], name: str) -> int | None:
    return _count(fields, name) or None
