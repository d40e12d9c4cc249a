"""The records of `portfolio.alerts`, and of what the watch keeps for its next start.

On `portfolio.alerts` are three kinds of record, told apart by `schema`: an alert as it is after a change (key
`alert:RULE:ACCOUNT:SUBJECT`), an acknowledgement (key `ack:ID`) and a silence (key `silence:ID`). The last record of
each key says how things are, so the topic is compacted, and whoever reads it from its beginning knows everything.
"""

from typing import TypeAlias

import msgspec

from portfolio.alerts.engine import Alert, Silence
from portfolio.alerts.views import AccountView
from streams.account_log import partition_of
from streams.publishing import Output
from streams.records import UnreadableRecord
from streams.topics import ALERT_STATE, ALERTS


class AlertRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="alert"):
    """An alert was raised, told again, acknowledged, or cleared."""

    version: int = 1
    alert: Alert


class AcknowledgementRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="acknowledgement"):
    """Somebody takes care of an alert."""

    version: int = 1
    alert_id: str
    by: str
    time_us: int


class SilenceRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="silence"):
    """Somebody does not want to be told for a while, or wants to again."""

    version: int = 1
    silence: Silence


AlertTopicRecord: TypeAlias = AlertRecord | AcknowledgementRecord | SilenceRecord


class WatchedView(msgspec.Struct, frozen=True, kw_only=True):
    """What the watch knows of an account, and where the topics are to be read on for it."""

    schema: str = "watched-view"
    version: int = 1
    view: AccountView
    next_offsets: dict[str, int]
    """`topic:partition` to the first offset that the view has not seen."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Offsets by `topic:partition`: how far everything before has been seen, or told to a target."""

    schema: str = "progress"
    version: int = 1
    next_offsets: dict[str, int]


_encoder = msgspec.json.Encoder(decimal_format="string")
_alerts = msgspec.json.Decoder(AlertTopicRecord)
_views = msgspec.json.Decoder(WatchedView)
_progress = msgspec.json.Decoder(Progress)

PROGRESS_KEY = b"progress"


def alert_output(record: AlertTopicRecord, partitions: int) -> Output:
    """The record as it is published: in the partition of its account, so that an account's alerts are in order."""
    key, account = _key_and_account(record)
    return Output(ALERTS.name, key.encode(), encode_alert_record(record), partition_of(account, partitions))


def encode_alert_record(record: AlertTopicRecord) -> bytes:
    """The record as it is on the wire."""
    return _encoder.encode(record)


def _key_and_account(record: AlertTopicRecord) -> tuple[str, str]:
    match record:
        case AlertRecord(alert=alert):
            return f"alert:{alert.rule}:{alert.account}:{alert.subject}", alert.account
        case AcknowledgementRecord(alert_id=alert_id):
            return f"ack:{alert_id}", ""
        case SilenceRecord(silence=silence):
            return f"silence:{silence.id}", ""


def decode_alert_record(value: bytes | None) -> AlertTopicRecord:
    """The inverse of `encode_alert_record`.

    Raises:
        UnreadableRecord: It is no record of this topic.
    """
    try:
        record: AlertTopicRecord = _alerts.decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableRecord(str(error)) from error
    return record


def view_output(watched: WatchedView) -> Output:
    """A view as it is kept."""
    return Output(ALERT_STATE.name, f"view:{watched.view.account}".encode(), _encoder.encode(watched), 0)


def decode_view(value: bytes) -> WatchedView | None:
    """A view as it was kept; None where it is of a version that is not understood: it is then made anew."""
    try:
        return _views.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def progress_output(key: bytes, next_offsets: dict[str, int]) -> Output:
    """Offsets as they are kept."""
    return Output(ALERT_STATE.name, key, _encoder.encode(Progress(next_offsets=next_offsets)), 0)


def decode_progress(value: bytes) -> dict[str, int]:
    """Offsets as they were kept; none where they cannot be read."""
    try:
        return _progress.decode(value).next_offsets
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def target_key(name: str) -> bytes:
    """The key under which it is kept what a target was told."""
    return f"target:{name}".encode()
